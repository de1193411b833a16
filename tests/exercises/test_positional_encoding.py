"""The exercises of the positional-encoding chapter, four ways."""

import math

import pytest
import torch

from lmbook.exercises import positional_encoding as check


def stub(*args): ...


def encoding(positions, d_model, *, power=2):
    angles = positions[:, None] / 10000 ** (power * torch.arange(d_model // 2) / d_model)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def back(n_tokens):
    position = torch.arange(n_tokens)
    return position[:, None] - position


def rotate(x, positions, *, sign=1, pair=None):
    angles = sign * positions[:, None] * 10000.0 ** (-torch.arange(0, x.shape[-1], 2, dtype=x.dtype) / x.shape[-1])
    a, b = x.chunk(2, dim=-1) if pair == "halves" else (x[:, 0::2], x[:, 1::2])
    turned = [a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()]
    return torch.cat(turned, dim=-1) if pair else torch.stack(turned, dim=-1).flatten(-2)


def far(steps):
    return 16 + 16 * math.log(steps / 16) / math.log(8)


TABLE = [
    (
        check.encoding,
        {
            "stub": stub,
            "reference": encoding,
            "wrong": [
                (lambda p, d: torch.cat([encoding(p, d)[:, 0::2], encoding(p, d)[:, 1::2]], -1), "in turn"),
                (lambda p, d: encoding(p, d).unflatten(-1, (-1, 2)).flip(-1).flatten(-2), "changed places"),
                (lambda p, d: encoding(p, d, power=1), "not i / d"),
                (lambda p, d: encoding(p + 1, d), "expected"),
            ],
        },
    ),
    (
        check.alibi,
        {
            "stub": stub,
            "reference": lambda n, slope: -slope * back(n).abs(),
            "wrong": [
                (lambda n, slope: slope * back(n).abs(), "the sign"),
                (lambda n, slope: -slope * back(n), "different signs"),
                (lambda n, slope: -slope * back(n).abs().sqrt(), "expected"),
            ],
        },
    ),
    (
        check.rotate_neighbours,
        {
            "stub": stub,
            "reference": rotate,
            "wrong": [
                (lambda x, p: rotate(x, p, sign=-1), "wrong way"),
                (lambda x, p: rotate(x, p, pair="halves"), "package's pairs"),
                (lambda x, p: rotate(x, p, pair="torn"), "out of order"),
                (lambda x, p: x, "expected"),
            ],
        },
    ),
    (
        check.bucket,
        {
            "stub": stub,
            "reference": lambda n: n if n < 16 else min(int(far(n)), 31),
            "wrong": [
                (lambda n: n if n < 16 else min(far(n), 31), "round down"),
                (lambda n: n if n < 16 else int(far(n)), "no bucket"),
                (lambda n: min(n, 31), "expected"),
            ],
        },
    ),
    (
        check.stretched_base,
        {
            "stub": stub,
            "reference": lambda base, width, factor: base * factor ** (width / (width - 2)),
            "wrong": [
                (lambda base, width, factor: base * factor, "a little more"),
                (lambda base, width, factor: base / factor, "quicker"),
                (lambda base, width, factor: base * factor**2, "expected"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
