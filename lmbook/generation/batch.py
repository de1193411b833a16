"""Several prompts of different lengths at once."""

from collections.abc import Callable, Collection, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from lmbook._checks import check_integers, check_positive
from lmbook.generation._model import check_length, check_stop_ids, extend, new_cache
from lmbook.generation.decoding import next_tokens


def left_pad(prompts: Sequence[Sequence[int] | Tensor]) -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """The prompts as one tensor, each ending in the last column, and the mask that is True where a token is real.

    Each prompt is filled up with its own first token. The mask hides these, so any token would do; one of the
    prompt's own adds no token to those that a repetition penalty finds in it.

    Raises:
        ValueError: no prompts, or an empty one.

    Book: decoding.
    """
    rows = [torch.as_tensor(prompt) for prompt in prompts]
    if not rows:
        raise ValueError("prompts is empty, it must hold at least 1 prompt")
    for i, row in enumerate(rows):
        if row.ndim != 1 or len(row) == 0:
            raise ValueError(f"prompts[{i}] must be at least 1 token id in one axis, got shape {tuple(row.shape)}")
        check_integers(row, name=f"prompts[{i}]")
    longest = max(map(len, rows))
    ids = torch.stack([torch.cat([row[:1].expand(longest - len(row)), row]).long() for row in rows])
    lengths = torch.tensor([len(row) for row in rows], device=ids.device)
    return ids, torch.arange(longest, device=ids.device) >= longest - lengths[:, None]


def generate_batch(
    model: Callable[..., Tensor],
    prompts: Sequence[Sequence[int] | Tensor],
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
) -> list[list[int]]:
    """Up to n_tokens next token ids for each prompt: what ``generate`` gives for one after the other, in one go.

    A sequence that has come to a stop id leaves the batch, and the others go on.

    Args:
        model: as for ``generate``, and takes ``mask=`` if the prompts differ in length.
        prompts: token ids of each, as lists or tensors of one axis, on the model's device.

    Raises:
        ValueError: no prompts or an empty one, or more tokens to read than the model takes, unless they are to be
            cropped: the longest prompt counts for all.

    Source: left padding with a mask, as in the code published with Radford et al. 2019 and in transformers.
    Book: decoding.
    """
    check_positive(n_tokens=n_tokens)
    check_stop_ids(stop_ids)
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "generator": generator}
    seen, mask = left_pad(prompts)
    mask = None if mask.all() else mask
    cache = new_cache(model)
    if not crop:
        check_length(model, seen.shape[1], n_tokens - 1)
    texts: list[list[int]] = [[] for _ in seen]
    going = texts  # those that have not stopped, one for each row of seen
    for _ in range(n_tokens):
        tokens = next_tokens(model, seen, cache, mask, repetition_penalty=repetition_penalty, **options)
        rows = [row for row, token in enumerate(tokens.tolist()) if token not in stop_ids]
        if not rows:
            break
        seen = extend(seen, tokens)
        mask = None if mask is None else F.pad(mask, (0, 1), value=True)
        if len(rows) < len(seen):
            kept = torch.tensor(rows, device=seen.device)
            seen, mask, going = seen[kept], None if mask is None else mask[kept], [going[row] for row in rows]
            cache.select(kept)
        for text, token in zip(going, seen[:, -1].tolist(), strict=True):
            text.append(token)
    return texts
