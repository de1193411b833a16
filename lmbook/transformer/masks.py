"""Masks: boolean tensors in which True means "may look"."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lmbook._checks import check_integers, check_positive


def causal_mask(n_queries: int, n_keys: int | None = None, *, device=None) -> Bool[Tensor, "T S"]:
    """Let each query look at itself and at the keys before it.

    The last query stands at the last key, so that with a cache of past keys (``n_keys > n_queries``)
    the new tokens see the whole past.

    Source: Vaswani et al. 2017, sec. 3.2.3. Book: attention.
    """
    n_keys = n_queries if n_keys is None else n_keys
    check_positive(n_queries=n_queries, n_keys=n_keys)
    if n_keys < n_queries:
        raise ValueError(f"n_keys must be at least n_queries={n_queries}, got {n_keys}")
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)


def window_mask(n_tokens: int, window: int, *, device=None) -> Bool[Tensor, "T T"]:
    """Let each query look at itself and at the ``window - 1`` keys before it.

    Source: Beltagy et al. 2020 (Longformer), sec. 3.1, in its causal form. Book: attention.
    """
    check_positive(n_tokens=n_tokens, window=window)
    return causal_mask(n_tokens, device=device).triu(1 - window)


def prefix_mask(n_tokens: int, n_prefix: int, *, device=None) -> Bool[Tensor, "T T"]:
    """Let every query look at the whole prefix, and causally at the rest.

    Source: Raffel et al. 2020 (T5), sec. 3.2.1, "causal masking with a prefix". Book: architectures.
    """
    check_positive(n_tokens=n_tokens)
    if not isinstance(n_prefix, int):
        raise TypeError(f"n_prefix must be an int, got {n_prefix!r}")
    if not 0 <= n_prefix <= n_tokens:
        raise ValueError(f"n_prefix must be from 0 to n_tokens={n_tokens}, got {n_prefix}")
    mask = causal_mask(n_tokens, device=device)
    mask[:, :n_prefix] = True
    return mask


def padding_mask(ids: Int[Tensor, "B S"], pad_id: int) -> Bool[Tensor, "B S"]:
    """Mark the tokens that are not padding.

    Book: attention.
    """
    check_integers(ids)
    if not isinstance(pad_id, int):
        raise TypeError(f"pad_id must be an int, got {pad_id!r}")
    if ids.ndim != 2:
        raise ValueError(f"ids must have 2 axes (batch, tokens), got shape {tuple(ids.shape)}")
    return ids != pad_id


def first_real(mask: Bool[Tensor, "B S"]) -> Int[Tensor, "B"]:
    """Index of the first token of each row that is not padding; 0 where all is padding."""
    return mask.int().argmax(-1)
