"""Keys and values of the tokens already read, so that a decoder computes each of them once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmbook._checks import check_integers, check_positive, check_range


class LayerCache:
    """Keys and values of one attention layer; its length is the position of the next token.

    Book: decoding.
    """

    def __init__(self) -> None:
        self.k: Float[Tensor, "B G S K"] | None = None
        self.v: Float[Tensor, "B G S K"] | None = None

    @property
    def length(self) -> int:
        return 0 if self.k is None else self.k.shape[-2]

    def append(
        self, k: Float[Tensor, "B G T K"], v: Float[Tensor, "B G T K"]
    ) -> tuple[Float[Tensor, "B G S K"], Float[Tensor, "B G S K"]]:
        """Add the keys and values of T new tokens; return those of all S tokens so far."""
        if k.ndim != 4 or k.shape != v.shape:
            shapes = f"{tuple(k.shape)} and {tuple(v.shape)}"
            raise ValueError(f"k and v must have the same 4 axes (batch, heads, tokens, width), got shapes {shapes}")
        if self.k is not None:
            old, new = tuple(self.k.shape), tuple(k.shape)
            if old[:2] + old[3:] != new[:2] + new[3:]:
                raise ValueError(f"k must differ from the cache's shape {old} in the number of tokens only, got {new}")
            k, v = torch.cat([self.k, k], dim=-2), torch.cat([self.v, v], dim=-2)
        self.k, self.v = k, v
        return k, v

    def crop(self, length: int) -> None:
        """Forget the tokens from position length on."""
        if not isinstance(length, int):
            raise TypeError(f"length must be an int, got {length!r}")
        if length < 0:
            raise ValueError(f"length must be at least 0, got {length}")
        if self.k is not None:
            self.k, self.v = self.k[..., :length, :], self.v[..., :length, :]

    def select(self, rows: Int[Tensor, "B"]) -> None:
        """Keep these sequences of the batch, in this order; one may be kept several times."""
        check_integers(rows, name="rows")
        if self.k is not None:
            check_range(rows, len(self.k), name="rows")
            self.k, self.v = self.k[rows], self.v[rows]


class KVCache:
    """One ``LayerCache`` for each layer of a decoder.

    Source: the ``past`` of GPT-2's published code (Radford et al. 2019). Book: decoding.
    """

    def __init__(self, n_layers: int) -> None:
        check_positive(n_layers=n_layers)
        self.layers = [LayerCache() for _ in range(n_layers)]

    @property
    def length(self) -> int:
        """Number of tokens held."""
        return self.layers[0].length

    def crop(self, length: int) -> None:
        """Forget the tokens from position length on, as after a guess that was wrong."""
        for layer in self.layers:
            layer.crop(length)

    def select(self, rows: Int[Tensor, "B"]) -> None:
        """Keep these sequences of the batch, in this order; one may be kept several times, as in beam search."""
        for layer in self.layers:
            layer.select(rows)


def layer_caches(cache: KVCache | None, n_layers: int) -> list[LayerCache] | list[None]:
    """The cache of each layer, or None for each where there is no cache."""
    if cache is None:
        return [None] * n_layers
    if not isinstance(cache, KVCache) or len(cache.layers) != n_layers:
        given = f"{len(cache.layers)} layers" if isinstance(cache, KVCache) else type(cache).__name__
        raise ValueError(f"cache must be a KVCache of {n_layers} layers, as the model has, got {given}")
    return cache.layers
