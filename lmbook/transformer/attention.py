"""Scaled dot-product attention: the equation as it is written, and the same through PyTorch's fused kernels."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lmbook._checks import check_float, check_fraction
from lmbook.transformer.masks import causal_mask


def attention_weights(
    q: Float[Tensor, "*batch T K"],
    k: Float[Tensor, "*batch S K"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    causal: bool = False,
    bias: Float[Tensor, "..."] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "*batch T S"]:
    """Share of its attention that each query gives to each key: softmax(q kᵀ · scale + bias) over the keys.

    Args:
        mask: broadcastable to ``(*batch, T, S)``; True = may look. A query that may
            look at nothing gets zeros.
        causal: query i looks at keys up to i + (S - T) only.
        bias: added to the scores before the softmax, broadcastable to them; -inf
            means "may not look", as False in the mask does.
        scale: 1 / sqrt(K) unless given.

    Raises:
        ValueError: shapes that do not fit, naming them.
        TypeError: a mask that is not boolean, anything else that is not floating point.

    Source: Vaswani et al. 2017, eq. 1. Book: attention.
    """
    _check_shapes(q, k, mask, bias)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    # In half precision q kᵀ may pass 65504, the end of float16, and loses digits.
    wide = torch.promote_types(torch.promote_types(q.dtype, k.dtype), torch.float32)
    scores = q.to(wide) @ k.to(wide).mT * scale
    if bias is not None:
        scores = scores + bias
    mask = _merge_masks(mask, causal, q, k)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    # Queries with nothing to look at: softmax would divide 0 by 0.
    blind = (scores == -torch.inf).all(-1, keepdim=True)
    weights = scores.masked_fill(blind, 0.0).softmax(-1)
    return weights.masked_fill(blind, 0.0).to(q.dtype)


def attention(
    q: Float[Tensor, "*batch T K"],
    k: Float[Tensor, "*batch S K"],
    v: Float[Tensor, "*batch S Kv"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    causal: bool = False,
    bias: Float[Tensor, "..."] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "*batch T Kv"]:
    """Average of the values, weighted for each query by ``attention_weights``, which documents the arguments.

    Source: Vaswani et al. 2017, eq. 1. Book: attention.
    """
    _check_values(k, v)
    return attention_weights(q, k, mask, causal=causal, bias=bias, scale=scale) @ v


def fast_attention(
    q: Float[Tensor, "*batch T K"],
    k: Float[Tensor, "*batch S K"],
    v: Float[Tensor, "*batch S Kv"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    causal: bool = False,
    bias: Float[Tensor, "..."] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "*batch T Kv"]:
    """The same as ``attention`` without ever storing the weights, by PyTorch's fused kernels.

    Args:
        dropout: probability with which a weight is dropped (the rest is scaled up).

    Source: Dao et al. 2022 (FlashAttention), alg. 1, behind ``F.scaled_dot_product_attention``. Book: attention.
    """
    _check_shapes(q, k, mask, bias)
    _check_values(k, v)
    check_fraction(dropout=dropout)
    square = q.shape[-2] == k.shape[-2]
    if mask is None and bias is None and (square or not causal):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, dropout_p=dropout)
    mask = _merge_masks(mask, causal, q, k)
    mask = None if mask is None else torch.atleast_2d(mask)
    if bias is None:
        blind = ~mask.any(-1, keepdim=True)
        mask = mask | blind
    else:
        bias = torch.atleast_2d(bias).to(q.dtype)
        bias = bias if mask is None else bias.masked_fill(~mask, -torch.inf)
        blind = (bias == -torch.inf).all(-1, keepdim=True)
        mask = bias.masked_fill(blind, 0.0)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, dropout_p=dropout)
    return out.masked_fill(blind, 0.0)


def _merge_masks(mask: Tensor | None, causal: bool, q: Tensor, k: Tensor) -> Tensor | None:
    if not causal:
        return mask
    triangle = causal_mask(q.shape[-2], k.shape[-2], device=q.device)
    return triangle if mask is None else mask & triangle


def _check_shapes(q: Tensor, k: Tensor, mask: Tensor | None, bias: Tensor | None) -> None:
    check_float(q=q, k=k)
    for name, tensor in (("q", q), ("k", k)):
        if tensor.ndim < 2:
            raise ValueError(f"{name} must have at least 2 axes (tokens, width), got shape {tuple(tensor.shape)}")
        if 0 in tensor.shape[-2:]:
            raise ValueError(f"{name} is empty, shape {tuple(tensor.shape)}")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q and k must have the same width, got {q.shape[-1]} and {k.shape[-1]}")
    if q.shape[:-2] != k.shape[:-2]:
        raise ValueError(f"q and k must have the same batch axes, got shapes {tuple(q.shape)} and {tuple(k.shape)}")
    if bias is not None:
        check_float(bias=bias)
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask must be boolean (True = may look), got {mask.dtype}")
    scores = (*q.shape[:-1], k.shape[-2])
    for name, tensor in (("mask", mask), ("bias", bias)):
        if tensor is not None and not _fits(tensor.shape, scores):
            shape = tuple(tensor.shape)
            raise ValueError(f"{name} must be broadcastable to (..., queries, keys) = {scores}, got shape {shape}")


def _fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(size in (1, limit) for size, limit in pairs)


def _check_values(k: Tensor, v: Tensor) -> None:
    check_float(k=k, v=v)
    if k.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"k and v must differ in width only, got shapes {tuple(k.shape)} and {tuple(v.shape)}")
