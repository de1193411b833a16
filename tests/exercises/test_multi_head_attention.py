"""The exercises of the multi-head attention chapter, four ways."""

import pytest
import torch

from lmbook.exercises import multi_head_attention as check
from lmbook.transformer import attention


def stub(*args): ...


def split(x, n_heads):
    return x.view(*x.shape[:2], n_heads, -1).transpose(1, 2)


def prune(w_q, w_k, w_v, w_o, n_heads, head, *, which=None):
    d_head = len(w_q) // n_heads
    keep = torch.arange(len(w_q)) // d_head != (head if which is None else which)
    return w_q[keep], w_k[keep], w_v[keep], w_o[:, keep]


def silence(w_q, w_k, w_v, w_o, n_heads, head):
    w_o[:, head * len(w_q) // n_heads : (head + 1) * len(w_q) // n_heads] = 0
    return w_q, w_k, w_v, w_o


def tokens(n_bytes, n_layers, n_kv_heads, d_head, size=2):
    return n_bytes // (2 * n_layers * n_kv_heads * d_head * size)


TABLE = [
    (
        check.split_heads,
        {
            "stub": stub,
            "reference": split,
            "wrong": [
                (lambda x, n: x.view(len(x), n, x.shape[1], -1), "parts of several tokens"),
                (lambda x, n: x.view(*x.shape[:2], -1, n).permute(0, 3, 1, 2), r"not \(K, heads\)"),
                (lambda x, n: x.view(*x.shape[:2], n, -1), "expected shape"),
            ],
        },
    ),
    (
        check.n_parameters,
        {
            "stub": stub,
            "reference": lambda d, h, g: 2 * d * d + 2 * d * g * d // h,
            "wrong": [
                (lambda d, h, g: d * d + 2 * d * g * d // h, "W_O"),
                (lambda d, h, g: 4 * d * d, "narrower"),
                (lambda d, h, g: 2 * d * d + 2 * d * g, "expected"),
            ],
        },
    ),
    (
        check.cache_tokens,
        {
            "stub": stub,
            "reference": tokens,
            "wrong": [
                (lambda n, layers, g, k, size=2: n // (layers * g * k * size), "keys and values"),
                (lambda n, layers, g, k, size=2: n / (2 * layers * g * k * size), "round down"),
                (lambda n, layers, g, k, size=2: n // (2 * g * k * size), "expected"),
            ],
        },
    ),
    (
        check.grouped_attention,
        {
            "stub": stub,
            "reference": lambda q, k, v: attention(q, *(t.repeat_interleave(len(q) // len(k), dim=0) for t in (k, v))),
            "wrong": [
                (lambda q, k, v: attention(q, *(t.repeat(len(q) // len(k), 1, 1) for t in (k, v))), "neighbouring"),
                (lambda q, k, v: attention(q, k[:1].expand_as(q), v[:1].expand_as(q)), "that is multi-query"),
                (lambda q, k, v: attention(q[: len(k)], k, v), "expected shape"),
            ],
        },
    ),
    (
        check.fold,
        {
            "stub": stub,
            "reference": lambda a, b, c, d: (c @ a, c @ b + d),
            "wrong": [
                (lambda a, b, c, d: (a @ c, c @ b + d), "wrong way round"),
                (lambda a, b, c, d: (c @ a, d), "bias of the outer"),
                (lambda a, b, c, d: (c @ a, b + d), "expected"),
                (lambda a, b, c, d: c @ a, "two tensors"),
            ],
        },
    ),
    (
        check.prune,
        {
            "stub": stub,
            "reference": prune,
            "wrong": [
                (silence, "as large as before"),
                (lambda q, k, v, o, n, h: prune(q, k, v, o, n, h, which=0 if h else 1), "smaller layer"),
                (lambda q, k, v, o, n, h: (*prune(q, k, v, o, n, h)[:3], o), "w_o should have shape"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
