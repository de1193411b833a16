"""Checkers for the exercises of the setup chapter."""

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise


@exercise
def model_bytes(answer) -> str:
    """``answer(n_parameters, dtype)`` is the memory, in bytes, that the weights of a model take."""
    sizes = {torch.float64: 8, torch.float32: 4, torch.bfloat16: 2, torch.int8: 1}
    for n_parameters, (dtype, size) in zip([7, 1000, 124_439_808, 8_030_261_248], sizes.items(), strict=True):
        got, want = answer(n_parameters, dtype), n_parameters * size
        if got == want * 8:
            raise WrongAnswer("those are bits: a byte has eight of them")
        compare(got, want, f"{n_parameters:,} parameters in {str(dtype).removeprefix('torch.')}")
    return "GPT-2 takes 498 MB in float32, Llama 3 8B in int8 takes 8 GB"


@exercise
def noise(answer) -> str:
    """``answer(shape, seed)`` is a normal random tensor: the same for the same seed, whatever happened before."""
    before = torch.get_rng_state()
    try:
        first, again, other = answer((2, 3), 0), answer((2, 3), 0), answer((2, 3), 1)
        touched = not torch.equal(before, torch.get_rng_state())
    finally:
        torch.set_rng_state(before)
    compare(list(first.shape), [2, 3], "the shape")
    if not torch.equal(first, again):
        raise WrongAnswer("the same seed gave two different tensors: make a new generator from the seed in each call")
    if touched:
        raise WrongAnswer("right numbers, but you changed the global generator, so others now draw other numbers")
    if torch.equal(first, other):
        raise WrongAnswer("seeds 0 and 1 gave the same tensor")
    compare(first, torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), "seed 0")
    return "the seed alone decides, and nobody else's numbers change"


@exercise
def stable_decimals(answer) -> str:
    """``answer(values)`` is the largest number of decimals with which all values print the same."""
    cases = [([0.5218, 0.5204], 2), ([1.2341, 1.2343], 3), ([2.0, 2.0000004], 6), ([0.04999, 0.05001], 4)]
    for values, want in cases:
        got = answer(values)
        if isinstance(got, int) and got > want and len({f"{v:.{got}f}" for v in values}) > 1:
            raise WrongAnswer(f"{values} with {got} decimals print as {' and '.join(f'{v:.{got}f}' for v in values)}")
        compare(got, want, f"{values}, of up to 6 decimals")
    return "as many decimals as every machine agrees on"
