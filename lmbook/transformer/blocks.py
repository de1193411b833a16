"""Sublayers around the residual stream, and the block that a Transformer repeats."""

from collections.abc import Callable

import torch.nn as nn
from jaxtyping import Bool, Float
from torch import Tensor

from lmbook._checks import check_fraction
from lmbook.transformer.cache import LayerCache
from lmbook.transformer.multihead import MultiHeadAttention


class PreNorm(nn.Module):
    """x + dropout(sublayer(norm(x))): the stream itself is never normalised.

    Source: Xiong et al. 2020, fig. 1b. Book: transformer.
    """

    def __init__(self, sublayer: nn.Module, norm: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        check_fraction(dropout=dropout)
        self.sublayer, self.norm, self.dropout = sublayer, norm, nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T D"], *args, **kwargs) -> Float[Tensor, "B T D"]:
        return x + self.dropout(self.sublayer(self.norm(x), *args, **kwargs))


class PostNorm(nn.Module):
    """norm(x + dropout(sublayer(x))): the stream is normalised after each sublayer.

    Source: Vaswani et al. 2017, sec. 3.1 and 5.4. Book: transformer.
    """

    def __init__(self, sublayer: nn.Module, norm: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        check_fraction(dropout=dropout)
        self.sublayer, self.norm, self.dropout = sublayer, norm, nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T D"], *args, **kwargs) -> Float[Tensor, "B T D"]:
        return self.norm(x + self.dropout(self.sublayer(x, *args, **kwargs)))


class Block(nn.Module):
    """Self-attention, then cross-attention where there is any, then the feed-forward network.

    Args:
        norm: makes a normalisation layer, one for each sublayer: ``lambda: LayerNorm(64)``.
        residual: ``PreNorm`` or ``PostNorm``.
        cross_attention: makes it the block of a decoder that reads an encoder's output, the memory.

    Source: Vaswani et al. 2017, sec. 3.1. Book: transformer.
    """

    def __init__(
        self,
        self_attention: MultiHeadAttention,
        feed_forward: nn.Module,
        *,
        norm: Callable[[], nn.Module],
        residual: type[PreNorm] | type[PostNorm] = PreNorm,
        cross_attention: MultiHeadAttention | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if isinstance(norm, nn.Module):
            raise TypeError(f"norm must make a norm, as lambda: LayerNorm(64) does, got a {type(norm).__name__}")
        self.self_attention = residual(self_attention, norm(), dropout)
        self.cross_attention = None if cross_attention is None else residual(cross_attention, norm(), dropout)
        self.feed_forward = residual(feed_forward, norm(), dropout)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
        bias: Float[Tensor, "H T _"] | None = None,
        cache: LayerCache | None = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Args are those of ``MultiHeadAttention``; memory and memory_mask are for the cross-attention.

        Raises:
            ValueError: memory is given to a block without cross-attention, or missing from one that has it.
        """
        if (memory is None) != (self.cross_attention is None):
            has, given = ("no", "given") if self.cross_attention is None else ("a", "None")
            raise ValueError(f"memory is {given}, but this block has {has} cross-attention")
        x = self.self_attention(x, mask=mask, causal=causal, bias=bias, cache=cache)
        if self.cross_attention is not None:
            x = self.cross_attention(x, memory, mask=memory_mask)
        return self.feed_forward(x)
