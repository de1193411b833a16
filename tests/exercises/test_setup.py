"""The exercises of the setup chapter, four ways."""

import pytest
import torch

from lmbook.exercises import setup as check


def stub(*args): ...


def same(values, decimals):
    return len({f"{value:.{decimals}f}" for value in values}) == 1


def global_noise(shape, seed):
    torch.manual_seed(seed)
    return torch.randn(shape)


TABLE = [
    (
        check.model_bytes,
        {
            "stub": stub,
            "reference": lambda n, dtype: n * dtype.itemsize,
            "wrong": [(lambda n, dtype: n * dtype.itemsize * 8, "bits"), (lambda n, dtype: 4 * n, "expected")],
        },
    ),
    (
        check.noise,
        {
            "stub": stub,
            "reference": lambda shape, seed: torch.randn(shape, generator=torch.Generator().manual_seed(seed)),
            "wrong": [
                (lambda shape, seed: torch.randn(shape), "two different tensors"),
                (global_noise, "global generator"),
                (lambda shape, seed: torch.zeros(shape), "seeds 0 and 1"),
            ],
        },
    ),
    (
        check.stable_decimals,
        {
            "stub": stub,
            "reference": lambda values: max(d for d in range(7) if same(values, d)),
            "wrong": [
                (lambda values: 6, "print as"),
                (lambda values: 0, "expected"),
                (lambda values: next(d for d in range(7) if not same(values, d + 1)), "expected 4"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
