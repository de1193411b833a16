"""Turning logits into text, one token at a time."""

from collections.abc import Collection, Iterator

import torch
from jaxtyping import Int
from torch import Tensor, nn

from lmbook._checks import check_integers, check_positive
from lmbook.transformer.cache import KVCache


def generate(
    model: nn.Module,
    ids: Int[Tensor, "1 T"],
    n_tokens: int,
    *,
    temperature: float = 0.0,
    stop_ids: Collection[int] = (),
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Yield up to n_tokens next token ids, one at a time, reading each token once through a cache.

    Args:
        model: called as ``model(ids, cache=cache)``, gives logits (1, tokens, V); has ``blocks``, one cache each.
        temperature: 0 takes the likeliest token; above 0 draws from softmax(logits / temperature).
        stop_ids: ends after any of these, which is not yielded.

    Raises:
        ValueError: a batch of several prompts, a negative temperature, fewer than 1 token asked for, NaN in the logits.

    Source: Radford et al. 2019, sec. 3 (sampling); temperature: Ackley et al. 1985, eq. 5. Book: architectures.
    """
    check_positive(n_tokens=n_tokens)
    check_integers(ids)
    if ids.ndim != 2 or len(ids) != 1:
        raise ValueError(f"ids must be one prompt, shape (1, tokens), got {tuple(ids.shape)}")
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0, got {temperature}")
    if not isinstance(stop_ids, Collection):
        raise TypeError(f"stop_ids must be a collection of token ids, got {stop_ids!r}")
    if not hasattr(model, "blocks"):
        raise TypeError(f"model must have blocks to cache, as GPT has, got {type(model).__name__}")
    cache = KVCache(len(model.blocks))
    for _ in range(n_tokens):
        with torch.no_grad():
            logits = model(ids, cache=cache)[0, -1]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if logits.isnan().any():
            raise ValueError(f"logits must be numbers, got {int(logits.isnan().sum())} NaN of {len(logits)}")
        if temperature == 0:
            token = int(logits.argmax())
        else:
            token = int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))
        if token in stop_ids:
            return
        yield token
        ids = ids.new_tensor([[token]])
