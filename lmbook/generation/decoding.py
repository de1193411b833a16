"""Turning logits into text, one token at a time."""

from collections.abc import Callable, Collection, Iterator

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lmbook.generation import filters
from lmbook.generation._model import check_length, check_prompt, extend, new_cache, read
from lmbook.generation.sampling import sample
from lmbook.transformer.cache import KVCache


def generate(
    model: Callable[..., Tensor],
    ids: Int[Tensor, "1 T"],
    n_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop_ids: Collection[int] = (),
    crop: bool = False,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Yield up to n_tokens next token ids, one at a time, through a cache.

    A module reads in evaluation mode, without dropout and gradients, and is left
    as it was.

    Args:
        model: called as ``model(ids, cache=cache)``, gives logits (1, tokens, V); has
            ``blocks``, one cache each, and may say in ``config.max_len`` how many
            tokens it takes.
        temperature: 0 takes the likeliest token; above 0 draws from
            softmax(logits / temperature).
        top_k, top_p, min_p: tokens that may be drawn, as for ``sample``.
        repetition_penalty: applied to the tokens of the prompt and of the text so
            far; 1 does nothing.
        stop_ids: ends after any of these, which is not yielded.
        crop: once the text is longer than the model takes, go on from its last
            max_len tokens, which are then read anew for each token. Without it, what
            could become too long is refused before the first token.

    Raises:
        ValueError: a batch of several prompts, a negative temperature, fewer than 1
            token asked for, more than max_len tokens to read, NaN in the logits.

    Source: Radford et al. 2019, sec. 3 (sampling); temperature: Ackley et al. 1985,
    eq. 5. Book: decoding.
    """
    check_prompt(ids, n_tokens, stop_ids)
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    options |= {"min_p": min_p, "repetition_penalty": repetition_penalty}
    cache = new_cache(model)
    if not crop:
        check_length(model, ids.shape[1], n_tokens - 1)
    for _ in range(n_tokens):
        next_id = next_tokens(model, ids, cache, generator=generator, **options)
        if int(next_id) in stop_ids:
            return
        yield int(next_id)
        ids = extend(ids, next_id)


def next_tokens(
    model: Callable[..., Tensor],
    seen: Int[Tensor, "B S"],
    cache: KVCache,
    mask: Bool[Tensor, "B S"] | None = None,
    *,
    repetition_penalty: float,
    **options,
) -> Int[Tensor, "B"]:
    """One more token for each row: read what is new, penalise what was seen, draw. Options are those of ``sample``."""
    logits = read(model, seen, cache, mask)[:, -1]
    if repetition_penalty != 1:
        logits = filters.repetition_penalty(logits, seen, repetition_penalty)
    return sample(logits, **options)
