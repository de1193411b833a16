"""Checkers for the exercises of the setup chapter."""

import random

import numpy as np
import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise, near


@exercise
def model_bytes(answer) -> str:
    """``answer(n_parameters, dtype)`` is the memory, in bytes, that the weights of a model take."""
    sizes = {torch.float64: 8, torch.float32: 4, torch.bfloat16: 2, torch.int8: 1}
    for n_parameters, (dtype, size) in zip([7, 1000, 124_439_808, 8_030_261_248], sizes.items(), strict=True):
        got, want = answer(n_parameters, dtype), n_parameters * size
        if near(got, want * 8):
            raise WrongAnswer("those are bits: a byte has eight of them")
        compare(got, want, f"{n_parameters:,} parameters in {str(dtype).removeprefix('torch.')}")
    return "GPT-2 takes 498 MB in float32, Llama 3 8B in int8 takes 8 GB"


def _states() -> list[bytes]:
    """The random states that an answer might change: those of PyTorch, NumPy and Python."""
    return [
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()).encode() + np.random.get_state()[1].tobytes(),
        repr(random.getstate()).encode(),
    ]


@exercise
def noise(answer) -> str:
    """``answer(shape, seed)`` is a normal random tensor: the same for the same seed, whatever happened before."""
    before, kept = _states(), (torch.get_rng_state(), np.random.get_state(), random.getstate())
    try:
        first, again, other = answer((2, 3), 0), answer((2, 3), 0), answer((2, 3), 1)
        large = torch.as_tensor(answer((100, 1, 400), 2)).double()
        after = _states()
    finally:
        torch.set_rng_state(kept[0]), np.random.set_state(kept[1]), random.setstate(kept[2])
    for got, shape in [(first, (2, 3)), (large, (100, 1, 400))]:
        compare(list(torch.as_tensor(got).shape), list(shape), f"the shape for {shape}")
    if not near(first, again, atol=0, rtol=0):
        raise WrongAnswer("the same seed gave two different tensors: make a new generator from the seed in each call")
    for library, old, new in zip(["PyTorch", "NumPy", "Python"], before, after, strict=True):
        if old != new:
            raise WrongAnswer(f"right numbers, but {library}'s global generator changed: others now draw other numbers")
    if near(first, other, atol=0, rtol=0):
        raise WrongAnswer("seeds 0 and 1 gave the same tensor")
    compare(large.mean(), 0.0, "the mean of 40,000 numbers", atol=0.03)
    compare(large.var(), 1.0, "the variance of 40,000 numbers", atol=0.05)
    compare((large.abs() < 1).double().mean(), 0.6827, "the share of 40,000 numbers between -1 and 1", atol=0.02)
    return "the seed alone decides, and nobody else's numbers change"


@exercise
def drift(answer) -> str:
    """``answer(values)``: how far the sum from left to right, in float32, is from the sum in float64."""
    generator = torch.Generator().manual_seed(0)
    cases = {
        "0.1, 20,000 times": torch.full((20_000,), 0.1),
        "0.7, 3,000 times": torch.full((3_000,), 0.7),
        "1e8, 1, -1e8, 1": torch.tensor([1e8, 1.0, -1e8, 1.0]),
        "1,000 random numbers": 1000 * torch.rand(1000, generator=generator),
    }
    for case, values in cases.items():
        got, exact = answer(values), values.double().sum()
        one_by_one = np.add.accumulate(values.numpy(), dtype=np.float32)[-1]
        want = abs(float(one_by_one) - float(exact))
        for wrong, message in [
            (0.0, "no error at all: then the partial sums were not in float32"),
            (float(one_by_one), "that is the sum; return how far it is from the exact one"),
            (float(one_by_one) - float(exact), "a distance is at least 0: take the absolute value"),
            (abs(float(values.sum()) - float(exact)), "that is torch.sum, which adds in blocks: go from left to right"),
        ]:
            if not near(wrong, want) and near(got, wrong):
                raise WrongAnswer(f"{case}: {message}")
        compare(got, want, case)
    return "100,000 times 0.1, one by one, end more than 1 away from 10,000"


@exercise
def stable_decimals(answer) -> str:
    """``answer(values)`` is the largest number of decimals with which all values print the same."""
    cases = [
        ([0.5218, 0.5204], 2),
        ([1.2341, 1.2343], 3),
        ([2.0, 2.0000004], 6),
        ([0.04999, 0.05001], 4),
        ([1.0004, 1.0006], 2),
        ([3.21, 3.21], 6),
        ([0.5218, 0.5204, 0.9], 0),
        ([7.125, 7.1251, 7.1249, 7.13], 1),
    ]
    for values, want in cases:
        got = answer(values)
        if isinstance(got, int) and 6 >= got > want and len({f"{v:.{got}f}" for v in values}) > 1:
            shown = " and ".join(sorted({f"{v:.{got}f}" for v in values}))
            raise WrongAnswer(f"{values} with {got} decimals print as {shown}")
        compare(got, want, f"{values}, of up to 6 decimals")
    return "as many decimals as every machine agrees on"
