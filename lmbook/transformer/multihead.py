"""Multi-head attention, with shared key-value heads, cross-attention and a cache."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn as nn
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from lmbook._checks import check_divides, check_fraction, check_positive, check_width
from lmbook.transformer.attention import attention_weights, fast_attention
from lmbook.transformer.cache import LayerCache
from lmbook.transformer.positions import Rotary


class MultiHeadAttention(nn.Module):
    """H attentions side by side in subspaces of width K, joined and projected back to width D.

    Args:
        n_kv_heads: G heads of keys and values, each shared by H / G heads of queries: G = H (default) is
            multi-head, 1 < G < H grouped-query, G = 1 multi-query attention.
        d_head: width K of a head, d_model / n_heads unless given.
        qkv_bias: whether queries, keys and values have biases; as bias unless given.
        dropout: probability with which a weight is dropped while training.
        scale: factor of the scores, 1 / sqrt(K) unless given.
        rotary: rotates queries and keys by their positions.

    Raises:
        ValueError: n_heads does not divide d_model (and no d_head is given), or n_kv_heads does not divide n_heads.

    Source: Vaswani et al. 2017, sec. 3.2.2; Ainslie et al. 2023 (GQA). Book: multi-head-attention.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        bias: bool = True,
        qkv_bias: bool | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
        rotary: Rotary | None = None,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        check_positive(d_model=d_model, n_heads=n_heads, n_kv_heads=n_kv_heads)
        check_divides(n_heads=n_heads, n_kv_heads=n_kv_heads)
        check_fraction(dropout=dropout)
        if d_head is None:
            check_divides(d_model=d_model, n_heads=n_heads)
            d_head = d_model // n_heads
        check_positive(d_head=d_head)
        self.d_model, self.n_heads, self.n_kv_heads = d_model, n_heads, n_kv_heads
        self.dropout, self.scale, self.rotary = dropout, scale, rotary
        qkv_bias = bias if qkv_bias is None else qkv_bias
        self.w_q = nn.Linear(d_model, n_heads * d_head, bias=qkv_bias)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=qkv_bias)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=qkv_bias)
        self.w_o = nn.Linear(n_heads * d_head, d_model, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
        bias: Float[Tensor, "H T S"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Attend from each token of x to x itself, or to memory (cross-attention).

        Args:
            mask: (T, S) or (B, 1 or H, T or 1, S); True = may look.
            causal: no token looks at a later one.
            bias: added to the scores, as ALiBi and T5 do.
            cache: holds keys and values of earlier tokens, and receives those of x.
        """
        self._check_mask(mask)
        q, k, v = self._project(x, memory, cache)
        dropout = self.dropout if self.training else 0.0
        heads = fast_attention(q, k, v, mask, causal=causal, bias=bias, scale=self.scale, dropout=dropout)
        return self.w_o(rearrange(heads, "B H T K -> B T (H K)"))

    def weights(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
        bias: Float[Tensor, "H T S"] | None = None,
    ) -> Float[Tensor, "B H T S"]:
        """Where each head looks: the weights that ``forward`` uses and never stores."""
        self._check_mask(mask)
        q, k, _ = self._project(x, memory, None)
        return attention_weights(q, k, mask, causal=causal, bias=bias, scale=self.scale)

    def _project(self, x: Tensor, memory: Tensor | None, cache: LayerCache | None) -> tuple[Tensor, Tensor, Tensor]:
        check_width(x, self.d_model)
        if memory is None:
            memory = x
        else:
            check_width(memory, self.d_model, name="memory")
            if len(memory) != len(x):
                raise ValueError(f"memory must have the batch of x, {len(x)}, got {len(memory)}")
            if cache is not None:
                raise ValueError("cache is for self-attention only, got one together with memory")
        q = rearrange(self.w_q(x), "B T (H K) -> B H T K", H=self.n_heads)
        k = rearrange(self.w_k(memory), "B S (G K) -> B G S K", G=self.n_kv_heads)
        v = rearrange(self.w_v(memory), "B S (G K) -> B G S K", G=self.n_kv_heads)
        if self.rotary is not None:
            start = 0 if cache is None else cache.length
            q, k = self.rotary(q, start), self.rotary(k, start)
        if cache is not None:
            k, v = cache.append(k, v)
        group = self.n_heads // self.n_kv_heads
        if group > 1:  # each key-value head serves a group of neighbouring query heads
            k, v = (repeat(heads, "B G S K -> B (G group) S K", group=group) for heads in (k, v))
        return q, k, v

    def _check_mask(self, mask: Tensor | None) -> None:
        if mask is not None and mask.ndim not in (2, 4):
            shape = tuple(mask.shape)
            raise ValueError(f"mask must be (queries, keys) or (batch, heads or 1, queries or 1, keys), got {shape}")


@contextmanager
def record_attention(model: nn.Module) -> Iterator[list[Float[Tensor, "B H T S"]]]:
    """Collect, in order of use, the weights of every multi-head attention that runs inside the block.

    Raises:
        ValueError: the model has no such layer, or one is run with a cache: record a pass over the whole sequence.

    Book: architectures.
    """
    recorded: list[Tensor] = []

    def record(layer: MultiHeadAttention, args: tuple, kwargs: dict) -> None:
        kwargs = dict(kwargs)
        if kwargs.pop("cache", None) is not None:
            raise ValueError("record_attention cannot look into a cached pass: run the whole sequence without cache")
        recorded.append(layer.weights(*args, **kwargs).detach())

    layers = [layer for layer in model.modules() if isinstance(layer, MultiHeadAttention)]
    if not layers:
        raise ValueError(f"model must contain a MultiHeadAttention, got {type(model).__name__} without any")
    hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()
