"""What every decoder does with a model: make its cache, read what is new, check what it was given."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmbook._checks import check_integers, check_positive
from lmbook.transformer.cache import KVCache


def new_cache(model: Callable[..., Tensor], *, name: str = "model") -> KVCache:
    if not hasattr(model, "blocks"):
        raise TypeError(f"{name} must have blocks to cache, as GPT has, got {type(model).__name__}")
    return KVCache(len(model.blocks))


@torch.no_grad()
def read(
    model: Callable[..., Tensor], seen: Int[Tensor, "B S"], cache: KVCache, mask: Bool[Tensor, "B S"] | None = None
) -> Float[Tensor, "B T V"]:
    """Logits after each token that the cache does not hold yet: all, if it stays empty.

    Of a text longer than the model takes, the last max_len tokens are read, without the
    cache: as the window moves on, each of them gets another position, and with it other
    keys and values.
    """
    with _evaluating(model):
        limit = max_len(model)
        if limit is not None and seen.shape[1] > limit:
            seen, cache = seen[:, -limit:], new_cache(model)
            mask = None if mask is None else mask[:, -limit:]
        options = {} if mask is None else {"mask": mask}
        return model(seen[:, cache.length :], cache=cache, **options)


@contextmanager
def _evaluating(model: Callable[..., Tensor]) -> Iterator[None]:
    """The model without dropout; afterwards each module is in the mode it was in."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    modules = [module for module in modules if module.training]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True


def max_len(model: Callable[..., Tensor]) -> int | None:
    """How many tokens the model can read, if it says so."""
    return getattr(getattr(model, "config", None), "max_len", None)


def check_length(model: Callable[..., Tensor], n_prompt: int, n_read: int, *, name: str = "model") -> None:
    """Refuse what is too long for the model before it has read anything.

    Args:
        n_read: tokens of the text that are read as well: all but the last one.
    """
    limit = max_len(model)
    if limit is not None and n_prompt + n_read > limit:
        raise ValueError(
            f"{name} takes max_len={limit} tokens, got {n_prompt + n_read} to read: "
            f"{n_prompt} of the prompt and {n_read} of the text"
        )


def extend(seen: Int[Tensor, "B S"], tokens: Int[Tensor, "B"]) -> Int[Tensor, "B S+1"]:
    return torch.cat([seen, tokens[:, None].to(seen.dtype)], dim=1)


def check_prompt(ids: Tensor, n_tokens: int, stop_ids: Collection[int]) -> None:
    check_positive(n_tokens=n_tokens)
    check_integers(ids)
    if ids.ndim != 2 or len(ids) != 1:
        raise ValueError(f"ids must be one prompt, shape (1, tokens), got {tuple(ids.shape)}")
    if not ids.numel():
        raise ValueError(f"ids is empty, shape {tuple(ids.shape)}")
    check_stop_ids(stop_ids)


def check_stop_ids(stop_ids: Collection[int]) -> None:
    if not isinstance(stop_ids, Collection):
        raise TypeError(f"stop_ids must be a collection of token ids, got {stop_ids!r}")
