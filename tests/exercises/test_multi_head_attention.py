"""The exercises of the multi-head attention chapter, four ways."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from lmbook.exercises import WrongAnswer
from lmbook.exercises import multi_head_attention as check
from lmbook.transformer import attention


def stub(*args): ...


def split(x, n_heads):
    return x.view(*x.shape[:2], n_heads, -1).transpose(1, 2)


def text(n_bytes, n_weights, batch, n_layers, n_kv_heads, d_head, size=2):
    return max(0, (n_bytes - size * n_weights) // (batch * 2 * n_layers * n_kv_heads * d_head * size))


def text_in_floats(n_bytes, n_weights, batch, n_layers, n_kv_heads, d_head, size=2):
    left = float(n_bytes) - size * n_weights
    return max(0.0, left // (2.0 * batch * n_layers * n_kv_heads * d_head * size))


def more_queries(q, k, v):
    return attention(q.reshape(len(k), -1, q.shape[-1]), k, v).reshape(*q.shape[:2], -1)


def by_einsum(q, k, v):
    q = rearrange(q, "(G g) T K -> G g T K", G=len(k))
    weights = (torch.einsum("GgTK,GSK->GgTS", q, k) * q.shape[-1] ** -0.5).softmax(-1)
    return torch.einsum("GgTS,GSV->GgTV", weights, v).flatten(0, 1)


def head_by_head(q, k, v):
    out = torch.zeros(*q.shape[:2], v.shape[-1])  # float32
    for h in range(len(q)):
        g = h // (len(q) // len(k))
        out[h] = attention(q[h], k[g], v[g])
    return out


def enabled(q, k, v):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], enable_gqa=True)[0]


def repeated(q, k, v):
    group = len(q) // len(k)
    return attention(q, *(t.repeat_interleave(group, 0) for t in (k, v)))


def tiled(q, k, v):
    return attention(q, *(t.repeat(len(q) // len(k), 1, 1) for t in (k, v)))


def expanded(q, k, v):
    q = q.unflatten(0, (len(k), -1))
    k, v = (t[:, None].expand(-1, q.shape[1], -1, -1) for t in (k, v))
    return attention(q, k, v).flatten(0, 1)


def by_group(q, k, v):
    g = len(q) // len(k)
    copies = [[t[i].repeat(g, 1, 1) for t in (k, v)] for i in range(len(k))]
    return torch.cat([attention(q[i * g : (i + 1) * g], *copies[i]) for i in range(len(k))])


def first_set(q, k, v):
    return attention(q, *(t[:1].expand(len(q), -1, -1) for t in (k, v)))


def square(q, k, v):
    """As if keys and values were as many, and as wide, as the queries."""
    return attention(q, *(t[:, None].expand(-1, len(q) // len(k), -1, -1).reshape(q.shape) for t in (k, v)))


def blocks(matrix, kept, d_head, dim=0):
    rows = [i for n in kept for i in range(n * d_head, (n + 1) * d_head)]
    return matrix[rows] if dim == 0 else matrix[:, rows]


def prune(w_q, w_k, w_v, w_o, n_heads, n_kv_heads, silent, *, shift=0, all_sets=False, old_numbers=False):
    d_head, group = len(w_q) // n_heads, n_heads // n_kv_heads
    heads = [h for h in range(n_heads) if h not in [(s + shift) % n_heads for s in silent]]
    sets = list(range(n_kv_heads)) if all_sets else sorted({h // group for h in heads})
    numbers = [h // group if old_numbers else sets.index(h // group) for h in heads]
    w_k, w_v = (blocks(w, sets, d_head) for w in (w_k, w_v))
    return blocks(w_q, heads, d_head), w_k, w_v, blocks(w_o, heads, d_head, 1), numbers


def prune_float32(*args):
    *matrices, sets = prune(*args)
    return [m.float() for m in matrices] + [torch.tensor(sets)]


def silence(w_q, w_k, w_v, w_o, n_heads, n_kv_heads, silent):
    for h in silent:
        w_o[:, h * len(w_q) // n_heads : (h + 1) * len(w_q) // n_heads] = 0
    return w_q, w_k, w_v, w_o, [h * n_kv_heads // n_heads for h in range(n_heads)]


TABLE = [
    (
        check.split_heads,
        {
            "stub": stub,
            "reference": split,
            "right": [
                lambda x, n: torch.stack(x.chunk(n, dim=-1), dim=1),
                lambda x, n: x.unflatten(-1, (n, -1)).permute(0, 2, 1, 3),
                lambda x, n: x.numpy().reshape(*x.shape[:2], n, -1).swapaxes(1, 2),
            ],
            "wrong": [
                (lambda x, n: x.view(len(x), n, x.shape[1], -1), "parts of several tokens"),
                (lambda x, n: x.view(*x.shape[:2], -1, n).permute(0, 3, 1, 2), r"not \(K, heads\)"),
                (lambda x, n: x.view(*x.shape[:2], n, -1), "expected shape"),
                (lambda x, n: x.view(2, x.shape[1], n, -1).transpose(1, 2), "RuntimeError|batch of 1.*expected"),
            ],
        },
    ),
    (
        check.longest_text,
        {
            "stub": stub,
            "reference": text,
            "right": [text_in_floats, lambda *a: torch.tensor(text(*a)), lambda *a: np.int64(text(*a))],
            "wrong": [
                (lambda n, w, b, lay, g, k, s=2: max(0, (n - s * w) // (b * lay * g * k * s)), "keys and values"),
                (lambda n, w, b, lay, g, k, s=2: max(0, (n - s * w) // (2 * lay * g * k * s)), "one text"),
                (lambda n, w, b, lay, g, k, s=2: max(0, (n - s * w) // (2 * b * g * k * s)), "every layer"),
                (lambda n, w, b, lay, g, k, s=2: n // (2 * b * lay * g * k * s), "on the card"),
                (lambda n, w, b, lay, g, k, s=2: (n - w) // (2 * b * lay * g * k * s), "a weight takes"),
                (lambda n, w, b, lay, g, k, s=2: max(0, (n - s * w) // (2 * b * lay * g * k)), "number in the cache"),
                (lambda n, w, b, lay, g, k, s=2: (n - s * w) // (2 * b * lay * g * k * s), "not a negative"),
                (lambda n, w, b, lay, g, k, s=2: (n - s * w) / (2 * b * lay * g * k * s), "round down"),
            ],
        },
    ),
    (
        check.grouped_attention,
        {
            "stub": stub,
            "reference": more_queries,
            "right": [by_einsum, head_by_head, enabled, lambda q, k, v: more_queries(q.float(), k.float(), v.float())],
            "wrong": [
                (repeated, "copy of the keys"),
                (by_group, "copy of the keys"),
                (tiled, "neighbouring"),
                (first_set, "that is multi-query"),
                (square, "shape"),
                (lambda q, k, v: attention(q[: len(k)], k, v), "expected shape"),
            ],
        },
    ),
    (
        check.fold,
        {
            "stub": stub,
            "reference": lambda a, b, c, d: (c @ a, c @ b + d),
            "right": [
                lambda a, b, c, d: [(c.float() @ a.float()), c.float() @ b.float() + d.float()],
                lambda a, b, c, d: ((a.T @ c.T).T.numpy(), (c @ b[:, None]).numpy()[:, 0] + d.numpy()),
            ],
            "wrong": [
                (lambda a, b, c, d: (a @ c, c @ b + d), "wrong way round"),
                (lambda a, b, c, d: (c @ a, d), "bias of the outer"),
                (lambda a, b, c, d: (c @ a, b + d), "expected"),
                (lambda a, b, c, d: c @ a, "two tensors"),
            ],
        },
    ),
    (
        check.both,
        {
            "stub": ...,
            "reference": 1.354,
            "right": [torch.tensor(1.36), np.float32(1.35), torch.tensor(1.354, dtype=torch.float64)],
            "wrong": [(0.65, "cost of one head"), (1.27, "sum of both"), (-1.35, "the sign"), (0.68, "both readings")]
            + [(1.6, "expected 1.354"), ([1.35, 1.35], "expected shape")],
        },
    ),
    (
        check.prune,
        {
            "stub": stub,
            "reference": prune,
            "right": [prune_float32, lambda *a: tuple(np.asarray(part) for part in prune(*a))],
            "wrong": [
                (silence, "as large as before"),
                (partial(prune, shift=1), "smaller layer|the sets"),
                (partial(prune, all_sets=True), "no head uses any more"),
                (partial(prune, old_numbers=True), "count the sets anew"),
                (lambda q, k, v, o, *rest: (*prune(q, k, v, o, *rest)[:3], o, []), "w_o should have shape"),
                (lambda *a: prune(*a)[:4], "and the list of sets"),
            ],
        },
    ),
]


def test_a_product_of_expanded_keys_copies_them():
    with pytest.raises(WrongAnswer, match="copy of the keys"):
        check.grouped_attention(expanded)


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
