"""The exercises of the setup chapter, four ways."""

import math
import random

import numpy as np
import pytest
import torch

from lmbook.exercises import setup as check


def stub(*args): ...


def same(values, decimals):
    return len({f"{value:.{decimals}f}" for value in values}) == 1


def stable(values):
    return max(d for d in range(7) if same(values, d))


def noise(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def global_noise(shape, seed):
    torch.manual_seed(seed)
    return torch.randn(shape)


def reseeds_numpy(shape, seed):
    np.random.seed(seed)
    return noise(shape, seed)


def reseeds_python(shape, seed):
    random.seed(seed)
    return noise(shape, seed)


def one_by_one(values):
    total = torch.tensor(0.0)
    for value in values:
        total += value
    return total


def drift(values):
    return abs(one_by_one(values).double() - values.double().sum())


TABLE = [
    (
        check.model_bytes,
        {
            "stub": stub,
            "reference": lambda n, dtype: n * dtype.itemsize,
            "right": [
                lambda n, dtype: n * torch.empty(0, dtype=dtype).element_size(),
                lambda n, dtype: n * 8 * dtype.itemsize / 8,  # a float
                lambda n, dtype: np.int64(n) * dtype.itemsize,
            ],
            "wrong": [
                (lambda n, dtype: n * dtype.itemsize * 8, "bits"),
                (lambda n, dtype: 4 * n, "7 parameters in float64: expected 56, got 28"),
                (lambda n, dtype: n * dtype.itemsize + (n > 1e9), "expected 8,030,261,248, got 8,030,261,249"),
            ],
        },
    ),
    (
        check.noise,
        {
            "stub": stub,
            "reference": noise,
            "right": [
                lambda shape, seed: np.random.default_rng(seed).standard_normal(shape),
                lambda shape, seed: noise(shape, seed + 100).double(),
                lambda shape, seed: torch.empty(shape).normal_(generator=torch.Generator().manual_seed(seed)),
            ],
            "wrong": [
                (lambda shape, seed: torch.randn(shape), "two different tensors"),
                (global_noise, "PyTorch's global generator"),
                (reseeds_numpy, "NumPy's global generator"),
                (reseeds_python, "Python's global generator"),
                (lambda shape, seed: torch.zeros(shape), "seeds 0 and 1"),
                (lambda shape, seed: noise((2, 3), seed), r"the shape for \(100, 1, 400\)"),
                (lambda shape, seed: torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "the mean"),
                (lambda shape, seed: 2 * noise(shape, seed), "the variance"),
                (lambda shape, seed: noise(shape, seed).sign(), "between -1 and 1"),
            ],
        },
    ),
    (
        check.drift,
        {
            "stub": stub,
            "reference": drift,
            "right": [
                lambda values: drift(values).item(),
                lambda v: abs(float(np.add.accumulate(v.numpy())[-1]) - math.fsum(v.tolist())),
            ],
            "wrong": [
                (one_by_one, "that is the sum"),
                (lambda v: one_by_one(v).double() - v.double().sum(), "a distance is at least 0"),
                (lambda v: abs(v.sum().double() - v.double().sum()), "that is torch.sum"),
                (lambda v: 0.0 * v.sum(), "not in float32"),
                (lambda v: drift(v.flip(0)), "1e8, 1, -1e8, 1"),
                (lambda v: 3.7, "expected"),
            ],
        },
    ),
    (
        check.stable_decimals,
        {
            "stub": stub,
            "reference": stable,
            "right": [
                lambda values: np.int64(stable(values)),
                lambda values: next(d for d in range(6, -1, -1) if len({format(v, f".{d}f") for v in values}) == 1),
            ],
            "wrong": [
                (lambda values: 6, "print as 0.520400 and 0.521800"),
                (lambda values: 0, "expected"),
                (lambda values: next((d for d in range(7) if not same(values, d + 1)), 6), "expected 4"),
                (lambda values: stable(values[:2]), "0.9"),
                (lambda v: max(0, min(6, int(-math.log10(max(v) - min(v) or 1e-9)))), "1.0004"),
                (lambda values: max(d for d in range(20) if same(values, d)), "expected 6, got 19"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
