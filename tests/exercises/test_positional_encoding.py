"""The exercises of the positional-encoding chapter, four ways."""

import math

import numpy as np
import pytest
import torch

from lmbook.exercises import positional_encoding as check


def stub(*args): ...


def table(d_model, n=1000):
    angles = torch.arange(n)[:, None] / 10000 ** (torch.arange(0, d_model, 2) / d_model)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def clock(rows):
    return (rows @ table(rows.shape[-1]).T).argmax(-1)


def nearest(rows):
    places = table(rows.shape[-1])
    return [int((places - row).norm(dim=-1).argmin()) for row in rows]


def quick_hand(rows):
    return (torch.atan2(rows[:, 0], rows[:, 1]) % (2 * math.pi)).round().long()


def alibi(n_queries, n_keys, slopes, *, sign=-1, absolute=True, late=True):
    queries = torch.arange(n_queries) + (n_keys - n_queries if late else 0)
    steps = queries[:, None] - torch.arange(n_keys)
    return sign * slopes[:, None, None] * (steps.abs() if absolute else steps)


def alibi_by_loop(n_queries, n_keys, slopes):
    first = n_keys - n_queries
    return [[[-s * abs(first + t - k) for k in range(n_keys)] for t in range(n_queries)] for s in slopes.tolist()]


def reorder(weight, n_heads, *, odd_first=False):
    heads = weight.reshape(n_heads, -1, weight.shape[-1])
    parts = [heads[:, 0::2], heads[:, 1::2]]
    return torch.cat(parts[::-1] if odd_first else parts, dim=1).reshape(weight.shape)


def reorder_by_loop(weight, n_heads):
    d_head, rows = len(weight) // n_heads, []
    for head in range(n_heads):
        for start in (0, 1):
            rows += [weight[head * d_head + i] for i in range(start, d_head, 2)]
    return torch.stack(rows)


def back(weight, n_heads):
    return weight.reshape(n_heads, 2, -1, weight.shape[-1]).transpose(1, 2).reshape(weight.shape)


def bucket(distance, *, exact=8, last=15, longest=128, floor=math.floor, later=16):
    steps = abs(distance)
    if steps >= exact:
        steps = min(exact + floor(exact * math.log(steps / exact) / math.log(longest / exact)), last)
    return steps + (later if distance > 0 else 0)


def score(base, width):
    return (torch.arange(5000)[:, None] * base ** (-torch.arange(0, width, 2).double() / width)).cos().mean(-1)


def half_by_loop(base, width):
    distance = 0
    while sum(math.cos(distance * base ** (-2 * i / width)) for i in range(width // 2)) / (width // 2) >= 0.5:
        distance += 1
    return distance


def yarn(width, trained, factor, *, turn=2 * math.pi, swap=False, hard=False):
    speed = 10000.0 ** (-torch.arange(0, width, 2) / width)
    keep = ((trained * speed / turn - 1) / 31).clamp(0, 1)
    keep = (keep > 0).float() if hard else keep
    return speed * (1 - keep + keep / factor) if swap else speed * keep + speed / factor * (1 - keep)


TABLE = [
    (
        check.read_clock,
        {
            "stub": stub,
            "reference": clock,
            "right": [nearest, lambda rows: clock(rows).float(), lambda rows: clock(rows.double().float()).numpy()],
            "wrong": [
                (quick_hand, "quick hand alone"),
                (lambda rows: clock(rows) + 1, "one too many"),
                (lambda rows: torch.atan2(rows[:, 0], rows[:, 1]), r"expected 999 at \[0\], got -?\d\.\d"),
                (lambda rows: (rows @ table(rows.shape[-1], 512).T).argmax(-1), "expected 999"),
            ],
        },
    ),
    (
        check.alibi,
        {
            "stub": stub,
            "reference": alibi,
            "right": [alibi_by_loop, lambda *a: alibi(*a).double(), lambda *a: alibi(*a).numpy()],
            "wrong": [
                (lambda *a: alibi(*a, sign=1), "the sign"),
                (lambda *a: alibi(*a, absolute=False), "different signs"),
                (lambda *a: alibi(*a, late=False), "stands at the first key"),
                (
                    lambda n, m, s: -s[:, None, None] * (torch.arange(m - n, m)[:, None] - torch.arange(m)).clamp(0),
                    "both",
                ),
                (lambda n, m, s: alibi(n, m, 2.0 ** (-8 * torch.arange(1, len(s) + 1) / len(s))), "2 queries, 5 keys"),
                (lambda n, m, slopes: alibi(n, m, slopes).sum(0), "expected shape"),
            ],
        },
    ),
    (
        check.reorder_rows,
        {
            "stub": stub,
            "reference": reorder,
            "right": [
                reorder_by_loop,
                lambda w, h: w.view(h, -1, 2, w.shape[-1]).transpose(1, 2).reshape(w.shape),
                lambda w, h: reorder(w.float(), h).numpy(),
            ],
            "wrong": [
                (back, "the way back"),
                (lambda w, h: reorder(w, h, odd_first=True), "odd rows came first"),
                (lambda w, h: reorder(w, 1), "heads were mixed"),
                (lambda w, h: w, "as they were"),
                (lambda w, h: reorder(w.T, 1).T, "expected"),
            ],
        },
    ),
    (
        check.bucket,
        {
            "stub": stub,
            "reference": bucket,
            "right": [
                lambda n: float(bucket(n)),
                lambda n: np.int64(bucket(n)),
                lambda n: bucket(n, floor=lambda x: float(np.floor(x))),
                lambda n: torch.tensor(bucket(n)),
            ],
            "wrong": [
                (lambda n: bucket(-n), "directions are exchanged"),
                (lambda n: bucket(-abs(n), exact=16, last=31), "of which 8 are exact"),
                (lambda n: bucket(n, floor=float), "round down"),
                (lambda n: bucket(n, longest=120), "-88: expected 14"),
                (lambda n: bucket(n, longest=129), "-91: expected 15"),
                (lambda n: bucket(n, last=99), "-128: expected 15, got 16"),
                (lambda n: bucket(n, later=0), "1: keys after the query have buckets of their own"),
            ],
        },
    ),
    (
        check.half_score,
        {
            "stub": stub,
            "reference": half_by_loop,
            "right": [
                lambda b, w: (score(b, w) < 0.5).nonzero()[0],
                lambda b, w: float((score(b, w) >= 0.5).long().argmin()),
            ],
            "wrong": [
                (lambda b, w: half_by_loop(b, w) - 1, "still above"),
                (lambda b, w: int((score(b, w)[:2000] >= 0.5).nonzero()[-1]) + 1, "below one half earlier"),
                (lambda b, w: 28, "base 500000, width 64: expected 78"),
                (lambda b, w: b**0.5, "expected 28"),
                (lambda b, w: int((score(b, w)[:300] < 0.5).long().argmax()), "width 4096: expected 397"),
            ],
        },
    ),
    (
        check.yarn,
        {
            "stub": stub,
            "reference": yarn,
            "right": [
                lambda w, n, f: yarn(w, n, f).double().numpy(),
                lambda w, n, f: yarn(w, n, f).tolist(),
                lambda w, n, f: [
                    s / f + (s - s / f) * min(max((n * s / (2 * math.pi) - 1) / 31, 0), 1)
                    for s in (10000 ** (-2 * i / w) for i in range(w // 2))
                ],
            ],
            "wrong": [
                (lambda w, n, f: 10000.0 ** (-torch.arange(0, w, 2) / w) / f, "interpolation"),
                (lambda w, n, f: yarn(w, n, f, swap=True), "upside down"),
                (lambda w, n, f: yarn(w, n, f, turn=1), "counted radians"),
                (lambda w, n, f: yarn(w, n, f, hard=True), "expected"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
