"""Keys and values of the tokens already read, so that a decoder computes each of them once."""

import torch
from jaxtyping import Float
from torch import Tensor


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
        if self.k is not None:
            if k.shape[0] != self.k.shape[0]:
                raise ValueError(f"batch must stay {self.k.shape[0]}, the cache's, got {k.shape[0]}")
            k, v = torch.cat([self.k, k], dim=-2), torch.cat([self.v, v], dim=-2)
        self.k, self.v = k, v
        return k, v


class KVCache:
    """One ``LayerCache`` for each layer of a decoder.

    Source: the ``past`` of GPT-2's published code (Radford et al. 2019). Book: decoding.
    """

    def __init__(self, n_layers: int) -> None:
        self.layers = [LayerCache() for _ in range(n_layers)]

    @property
    def length(self) -> int:
        """Number of tokens held."""
        return self.layers[0].length
