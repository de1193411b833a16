"""Speculative decoding: a small model guesses several tokens, and the large one checks them all in one pass."""

from collections.abc import Callable, Collection, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmbook._checks import check_positive
from lmbook.generation._model import check_length, check_prompt, extend, new_cache, read
from lmbook.generation.sampling import distribution, draw


def speculative(
    target: Callable[..., Tensor],
    draft: Callable[..., Tensor],
    ids: Int[Tensor, "1 T"],
    n_tokens: int,
    n_draft: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    stop_ids: Collection[int] = (),
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Yield up to n_tokens token ids, distributed exactly as if the target had drawn each of them alone.

    The draft draws n_draft tokens. The target reads them in one pass. Token x, drawn with probability q(x), is kept
    with probability min(1, p(x) / q(x)), where p is the target's; the first that is not kept is replaced by one drawn
    from max(0, p - q), and the rest is thrown away. If all are kept, the same pass gives one more. So each pass of
    the target yields 1 to n_draft + 1 tokens.

    Args:
        target, draft: as the model of ``generate``, with the same vocabulary.
        temperature, top_k, top_p, min_p: shape the distributions of both, as for ``sample``.

    Raises:
        ValueError: as for ``generate``, which can crop and this cannot; vocabularies of different sizes.

    Source: Leviathan et al. 2023, alg. 1; Chen et al. 2023, alg. 2. Book: decoding.
    """
    check_prompt(ids, n_tokens, stop_ids)
    check_positive(n_draft=n_draft)
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    target_cache, draft_cache = new_cache(target, name="target"), new_cache(draft, name="draft")
    check_length(target, ids.shape[1], n_tokens - 1, name="target")
    if n_tokens > 1:  # else it is not asked; and what it guesses last it need not read
        check_length(draft, ids.shape[1], n_tokens - 2, name="draft")
    if temperature == 0:  # all is certain: draws come out the same, and change nobody's random state
        generator = torch.Generator(ids.device)
    end = ids.shape[1] + n_tokens
    while ids.shape[1] < end:
        start, guessed, q = ids.shape[1], ids, []
        for _ in range(min(n_draft, end - start - 1)):  # one token comes from the target in any case
            q.append(distribution(read(draft, guessed, draft_cache)[:, -1], **options)[0])
            guessed = extend(guessed, draw(q[-1], generator)[None])
        p = distribution(read(target, guessed, target_cache)[0, -len(q) - 1 :], **options)
        if q and p.shape[-1] != q[0].shape[-1]:
            sizes = f"{p.shape[-1]} and {q[0].shape[-1]}"
            raise ValueError(f"target and draft must have the same vocabulary, got sizes {sizes}")
        kept, last = _check(guessed[0, start:], p, q, generator)
        ids = extend(guessed[:, : start + kept], last[None])
        for token in ids[0, start:].tolist():
            if token in stop_ids:
                return
            yield token
        target_cache.crop(start + kept)
        draft_cache.crop(start + kept)


def _check(
    guesses: Int[Tensor, "T"], p: Float[Tensor, "S V"], q: list[Tensor], generator: torch.Generator | None
) -> tuple[int, Int[Tensor, ""]]:
    """How many of the guesses are kept, and the token that follows these."""
    luck = torch.rand(len(q), dtype=p.dtype, device=p.device, generator=generator)
    for i, guess in enumerate(guesses):
        if luck[i] * q[i][guess] >= p[i, guess]:
            rest = (p[i] - q[i]).clamp(min=0)
            return i, draw(rest if rest.any() else p[i], generator)  # no rest: p and q differ by rounding only
    return len(q), draw(p[-1], generator)
