"""What every decoder does with a model: make its cache, read what is new, check what it was given."""

from collections.abc import Callable, Collection

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

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
    """Logits after each token that the cache does not hold yet, so all of them if the model leaves it empty."""
    options = {} if mask is None else {"mask": mask}
    return model(seen[:, cache.length :], cache=cache, **options)


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
