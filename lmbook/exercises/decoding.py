"""Checkers for the exercises of the decoding chapter."""

import math

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise
from lmbook.generation import distribution


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _random_shares(n: int, *, seed: int) -> torch.Tensor:
    return (2 * _random(n, seed=seed)).softmax(-1)


@exercise
def heat(answer) -> str:
    """``answer(probabilities, temperature)`` is the distribution at that temperature, from the one at 1."""
    for seed, temperature in enumerate([0.5, 2.0, 1.0, 0.1]):
        p = _random_shares(5, seed=seed)
        got, want = answer(p, temperature), distribution(p.log(), temperature=temperature)
        if isinstance(got, torch.Tensor) and got.shape == want.shape and temperature != 1:
            if torch.allclose(got, (p / temperature).softmax(-1)):
                raise WrongAnswer("you divided the probabilities: it is their logarithms that are divided")
            if torch.allclose(got, distribution(p.log(), temperature=1 / temperature)):
                raise WrongAnswer("the wrong way round: a low temperature must sharpen the distribution")
        compare(got, want, f"temperature {temperature}")
    return "each probability to the power 1/T, and the whole divided by its sum"


@exercise
def nucleus(answer) -> str:
    """``answer(probabilities, p)`` is True for the likeliest tokens, as few as reach p together."""
    cases = [([0.5, 0.25, 0.125, 0.125], 0.6), ([0.125, 0.5, 0.25, 0.125], 0.7), ([0.9, 0.1], 0.5), ([0.25] * 4, 1.0)]
    for shares, p in cases:
        shares = torch.tensor(shares, dtype=torch.float64)
        got, want = answer(shares, p), distribution(shares.log(), top_p=p) > 0
        if isinstance(got, torch.Tensor) and got.shape == want.shape and got.dtype == torch.bool:
            if not got.any():
                raise WrongAnswer(f"p = {p}: no token is left; the one that crosses p is kept too")
            order = shares.argsort(descending=True, stable=True)
            if torch.equal(got[order], shares[order].cumsum(-1) <= p) and not torch.equal(got, want):
                raise WrongAnswer(f"p = {p}: your tokens stay below p; the one that crosses p is kept too")
            if torch.equal(got, shares.cumsum(-1) - shares < p) and not torch.equal(got, want):
                raise WrongAnswer(f"p = {p}: tokens are taken from the left; take the likeliest first")
        compare(got, want, f"probabilities {shares.tolist()}, p = {p}")
    return "as few tokens as reach p, the likeliest first, in their own places"


@exercise
def repeated(answer) -> str:
    """``answer(tokens, n)`` is the share of the n-grams of a text that stood in it before."""
    cases = [([1, 2, 3, 4], 2), ([1, 2, 1, 2, 1], 2), ([7] * 6, 4), ([1, 2, 3, 1, 2, 3, 1], 3)]
    for tokens, n in cases:
        got = answer(list(tokens), n)
        grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
        want = 1 - len(set(grams)) / len(grams)
        if isinstance(got, float) and abs(got - want) > 1e-9:
            if abs(got - len(set(grams)) / len(grams)) < 1e-9:
                raise WrongAnswer("that is the share of different n-grams: take it from 1")
            if abs(got - sum(grams.count(gram) > 1 for gram in grams) / len(grams)) < 1e-9:
                raise WrongAnswer("the first time does not count: only an n-gram that stood there before is repeated")
        compare(got, want, f"tokens {tokens}, n = {n}")
    return "each n-gram counts from its second time on"


@exercise
def tokens_read(answer) -> str:
    """``answer(n_prompt, n_new)`` counts the tokens that the model reads, without a cache and with one."""
    for n_prompt, n_new in [(1, 1), (3, 1), (3, 4), (100, 50)]:
        got = answer(n_prompt, n_new)
        without, cached = sum(n_prompt + step for step in range(n_new)), n_prompt + n_new - 1
        if isinstance(got, tuple | list) and len(got) == 2:
            if tuple(got) == (cached, without) and cached != without:
                raise WrongAnswer("the other way round: first without a cache, then with one")
            if got[1] == n_prompt + n_new:
                raise WrongAnswer("one too many with a cache: nothing is asked after the last token, so it is not read")
        compare(list(got), [without, cached], f"{n_prompt} tokens of prompt, {n_new} new")
    return "every step reads everything without a cache, and one token with it"


@exercise
def replacement(answer) -> str:
    """``answer(p, q)``: how often a guess from q is kept, and the distribution of what replaces it if not."""
    for seed, n in enumerate([2, 4, 9]):
        p, q = _random_shares(n, seed=seed), _random_shares(n, seed=20 + seed)
        got = answer(p, q)
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise WrongAnswer("return two things: the share of guesses that is kept, and a distribution")
        kept, rest = got
        want = (p - q).clamp(min=0)
        if isinstance(rest, torch.Tensor) and rest.shape == p.shape:
            if torch.allclose(rest, p):
                raise WrongAnswer("drawn from p itself, tokens that q favours come too often: take away what q gave")
            if torch.allclose(rest, want) and not math.isclose(float(want.sum()), 1):
                raise WrongAnswer("what is left does not sum to 1: divide it by its sum")
        compare(kept, torch.minimum(p, q).sum(), f"{n} tokens, share kept")
        compare(rest, want / want.sum(), f"{n} tokens, replacement")
    return "what is kept and what replaces the rest add up to p"
