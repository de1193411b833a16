"""Checkers for the exercises of the positional-encoding chapter."""

import math

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise
from lmbook.transformer import relative_buckets, rotate, sinusoidal_encoding


def _close(got, want, atol: float = 1e-4) -> bool:
    return isinstance(got, torch.Tensor) and got.shape == want.shape and torch.allclose(got.to(want), want, atol=atol)


@exercise
def encoding(answer) -> str:
    """``answer(positions, d_model)`` is the sinusoidal encoding, sines in the even columns."""
    for positions, d_model in [(torch.arange(3), 4), (torch.arange(50), 16), (torch.tensor([7, 0, 30]), 6)]:
        got, want = answer(positions, d_model), sinusoidal_encoding(positions, d_model)
        if _close(got, torch.cat([want[:, 0::2], want[:, 1::2]], dim=-1)):
            raise WrongAnswer("all sines, then all cosines: the formula has them in turn, sines in the even columns")
        if _close(got, want.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)):
            raise WrongAnswer("sine and cosine have changed places: position 0 should read 0, 1, 0, 1, ...")
        angles = positions[:, None] / 10000 ** (torch.arange(d_model // 2) / d_model)
        if d_model > 2 and _close(got, torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)):
            raise WrongAnswer("the hands slow down by half as much as they should: the exponent is 2i / d, not i / d")
        compare(got, want, f"{len(positions)} positions of width {d_model}", atol=1e-4)
    return "quick hands on the left, slow ones on the right"


@exercise
def alibi(answer) -> str:
    """``answer(n_tokens, slope)`` is the bias of one ALiBi head."""
    for n_tokens, slope in [(1, 0.5), (4, 0.5), (6, 1 / 256)]:
        position = torch.arange(n_tokens)
        steps = position[:, None] - position
        got, want = answer(n_tokens, slope), -slope * steps.abs()
        if n_tokens > 1 and _close(got, -want, 1e-6):
            raise WrongAnswer("the sign: a far key should lose, and your bias rewards it")
        if n_tokens > 1 and (_close(got, slope * steps, 1e-6) or _close(got, -slope * steps, 1e-6)):
            raise WrongAnswer("keys before and after the query have different signs: the distance has none")
        compare(got, want, f"{n_tokens} tokens, slope {slope:g}")
    return "each step away costs the same"


@exercise
def rotate_neighbours(answer) -> str:
    """``answer(x, positions)`` turns the coordinates 2i and 2i + 1 by the position times 10000^(-2i/K)."""
    for seed, (n_tokens, width) in enumerate([(1, 2), (4, 8), (5, 6)]):
        x = torch.randn(n_tokens, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        positions = torch.arange(1, n_tokens + 1)
        halves = torch.cat([x[:, 0::2], x[:, 1::2]], dim=-1)

        def neighbours(turned):  # from the package's order of coordinates back to the paper's
            return torch.stack(turned.chunk(2, dim=-1), dim=-1).flatten(-2)

        got, want = answer(x, positions), neighbours(rotate(halves, positions))
        if _close(got, neighbours(rotate(halves, -positions))):
            raise WrongAnswer("turned the wrong way: (1, 0) should become (cos, sin), not (cos, -sin)")
        if width > 2 and _close(got, rotate(x, positions)):
            raise WrongAnswer("these are the package's pairs, i with i + K/2: the paper pairs 2i with 2i + 1")
        if width > 2 and _close(got, rotate(halves, positions)):
            raise WrongAnswer("the pairs are right, but come out of order: put the two of a pair side by side again")
        compare(got, want, f"{n_tokens} tokens of width {width}")
    return "neighbours turn together"


@exercise
def bucket(answer) -> str:
    """``answer(steps)`` is T5's bucket of a key so many tokens back (32 buckets, maximum distance 128)."""
    for steps in [0, 1, 15, 16, 17, 20, 40, 90, 127, 128, 1000]:
        got = answer(steps)
        want = int(relative_buckets(torch.tensor([-steps]), bidirectional=False))
        if isinstance(got, float):
            raise WrongAnswer(f"{steps} tokens back: {got:.3f} is no bucket; round down to a whole number")
        if isinstance(got, int) and got > 31:
            raise WrongAnswer(f"{steps} tokens back: there is no bucket {got}; all beyond goes to the last, 31")
        compare(got, want, f"{steps} tokens back")
    return "near ones singly, far ones together"


@exercise
def stretched_base(answer) -> str:
    """``answer(base, width, factor)`` makes the slowest hand of a rotary head `factor` times as slow."""
    for base, width, factor in [(10000.0, 16, 4), (10000.0, 128, 8), (500000.0, 64, 2)]:
        got, want = answer(base, width, factor), base * factor ** (width / (width - 2))
        if isinstance(got, int | float) and math.isclose(got, base * factor, rel_tol=1e-9):
            raise WrongAnswer("the slowest exponent is (K-2)/K and not 1, so the base must grow a little more")
        if isinstance(got, int | float) and got < base:
            raise WrongAnswer("a smaller base makes the hands quicker")
        compare(got, want, f"base {base:g}, width {width}, factor {factor}", rtol=1e-9)
    return "the slowest hand is stretched exactly, the quickest not at all"
