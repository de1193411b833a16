"""Checkers for the exercises of the decoding chapter."""

import math

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise, near
from lmbook.generation import distribution, min_p, top_p


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _shares(*shape: int, seed: int) -> torch.Tensor:
    return (1.5 * _random(*shape, seed=seed)).softmax(-1)


def _entropy(p: torch.Tensor) -> float:
    return torch.special.entr(p).sum().item()


@exercise
def text_score(answer) -> str:
    """``answer(logits, tokens, alpha)``: log-probability of the text, divided by its length to the power alpha."""
    for seed, (tokens, alpha) in enumerate([([2, 0, 1], 0.0), ([3, 3, 1, 0, 2], 1.0), ([1, 4], 0.6), ([5], 2.0)]):
        logits = 3 * _random(len(tokens), 6, seed=seed) + 2
        got, places = answer(logits, tokens, alpha), range(len(tokens))
        log_p, divisor = logits.log_softmax(-1)[places, tokens].sum(), len(tokens) ** alpha
        want = log_p / divisor
        for wrong, message in [
            (logits[places, tokens].sum() / divisor, "a logit is no log-probability: take the log_softmax of each row"),
            (logits.softmax(-1)[places, tokens].prod() / divisor, "that is the probability: take its logarithm"),
            (-want, "the log-probability itself, without a minus: it is below 0"),
            (log_p / len(tokens), "divide by the length to the power alpha, which may be other than 1"),
        ]:
            if near(got, wrong) and not near(wrong, want):
                raise WrongAnswer(message)
        compare(got, want, f"{len(tokens)} tokens, alpha {alpha}")
    return "alpha 0 compares log-probabilities, alpha 1 their means"


@exercise
def temperature_for(answer) -> str:
    """``answer(probabilities, entropy)``: the temperature at which the distribution has that entropy in nats."""
    for seed, (n, wanted) in enumerate([(4, 0.7), (9, 2.0), (3, 0.3), (50, 2.5), (2, 0.69)]):
        p = _shares(n, seed=seed)
        case = f"{n} probabilities, entropy {wanted}"
        got = answer(p, wanted)
        value = float(torch.as_tensor(got))
        if not 0.04 < value < 21:
            raise WrongAnswer(f"{case}: the temperature lies between 0.05 and 20, got {value:.6g}")
        found = _entropy(distribution(p.log(), temperature=value))
        if near(found / math.log(2), wanted, atol=2e-3):
            raise WrongAnswer(f"{case}: {value:.4g} gives that many bits; nats have the natural logarithm")
        if near(_entropy(distribution(p.log(), temperature=1 / value)), wanted, atol=2e-3) and abs(value - 1) > 0.01:
            raise WrongAnswer(f"{case}: the wrong way round, 1/{value:.4g} has that entropy")
        if not near(found, wanted, atol=2e-3):
            raise WrongAnswer(f"{case}: at temperature {value:.4g} the entropy is {found:.4f}")
    return "entropy grows with the temperature, from 0 to the logarithm of the number of tokens"


@exercise
def nucleus(answer) -> str:
    """``answer(probabilities, p)`` is True for the likeliest tokens, as few as reach p together."""
    cases = [  # all sums are exact in binary, so that reaching p and passing it are told apart
        ([0.5, 0.25, 0.125, 0.125], 0.625, [1, 1, 0, 0]),
        ([0.125, 0.5, 0.25, 0.125], 0.6875, [0, 1, 1, 0]),
        ([0.875, 0.125], 0.5, [1, 0]),
        ([0.25] * 4, 1.0, [1, 1, 1, 1]),
        ([0.5, 0.25, 0.125, 0.125], 0.75, [1, 1, 0, 0]),
        ([0.25, 0.5, 0.25], 0.5, [0, 1, 0]),
        ([0.25] * 4, 0.5, [1, 1, 0, 0]),
        ([0.125, 0.125, 0.25, 0.5], 0.8125, [1, 0, 1, 1]),
    ]
    for shares, p, kept in cases:
        case, want = f"probabilities {shares}, p = {p}", torch.tensor(kept).bool()
        shares = torch.tensor(shares, dtype=torch.float64)
        got = answer(shares, p)
        order = shares.argsort(descending=True, stable=True)
        sums, below = shares[order].cumsum(-1), torch.zeros(len(shares), dtype=torch.bool)
        below[order] = sums <= p
        exact, tied = torch.zeros_like(below), shares >= shares[order][int((sums < p).sum())]
        exact[order] = sums - shares[order] <= p
        for wrong, message in [
            (torch.zeros_like(want), "no token is left; the one that crosses p is kept too"),
            (exact, "one token too many: those before it reach p (logarithms, as in gen.top_p, round)"),
            (below, "your tokens stay below p; the one that crosses p is kept too"),
            (tied, "of tokens that tie, only as many as are needed to reach p, the first ones"),
            (shares.cumsum(-1) - shares < p, "tokens are taken from the left; take the likeliest first"),
        ]:
            if near(got, wrong) and not near(wrong, want):
                raise WrongAnswer(f"{case}: {message}")
        compare(got, want, case)
    return "as few tokens as reach p, the likeliest first, in their own places"


@exercise
def banned(answer) -> str:
    """``answer(tokens, n)``: the tokens that would complete an n-gram which the text already holds."""
    cases = [
        ([1, 2, 3, 1, 2], 3, {3}),
        ([1, 2, 1, 2, 1], 3, {2}),
        ([5, 6, 5, 7, 5], 2, {6, 7}),
        ([4, 4, 7], 1, {4, 7}),
        ([1, 12, 9, 11, 2], 3, set()),
        ([8, 8, 8], 2, {8}),
        ([8, 8, 8], 3, {8}),
        ([3], 3, set()),
        ([1, 2, 3], 4, set()),
        ([9, 1, 2, 3, 0, 1, 2, 3], 4, {0}),
    ]
    for tokens, n, want in cases:
        got, case = answer(tokens, n), f"tokens {tokens}, n = {n}"
        try:
            found = set(map(int, got))
        except TypeError:
            raise WrongAnswer(f"{case}: return a set of tokens, got {got!r}") from None
        if extra := found - want:
            raise WrongAnswer(f"{case}: {min(extra)} is allowed, it would complete no {n}-gram of the text")
        if missing := want - found:
            raise WrongAnswer(f"{case}: {min(missing)} would complete a {n}-gram of the text")
    return "what followed the last n - 1 tokens before may not follow them again"


@exercise
def kept_counts(answer) -> str:
    """``answer(logits, temperature)``: tokens kept by top-p and min-p after the temperature, and top-p before it."""
    for seed, temperature in enumerate([2.0, 0.5, 1.0, 3.0]):
        logits = 3 * _random(400, seed=seed)
        hot, cold = logits / temperature, logits * temperature
        want = [int(z.isfinite().sum()) for z in (top_p(hot, 0.9), min_p(hot, 0.1), top_p(logits, 0.9))]
        upside_down = [int(z.isfinite().sum()) for z in (top_p(cold, 0.9), min_p(cold, 0.1), top_p(logits, 0.9))]
        got = answer(logits, temperature)
        for wrong, message in [
            (upside_down, "the logits are divided by the temperature"),
            ([want[0], want[1], want[0]], "the third number comes from a filter that sees no temperature"),
            ([want[2], int(min_p(logits, 0.1).isfinite().sum()), want[2]], "nothing was heated: divide, then filter"),
        ]:
            if near(got, wrong) and not near(wrong, want):
                raise WrongAnswer(f"temperature {temperature}: {message}")
        compare(got, want, f"temperature {temperature}")
    return "heat lets tokens in through a filter that comes after it, and none through one that comes before"


def _pass(p, q, guesses, luck, *, rest=None, go_on=False, extra=True) -> list[int]:
    """The tokens of one pass; the options make the typical mistakes."""

    def draw(weights) -> int:
        return int((weights.cumsum(-1) / weights.sum() > luck[-1]).nonzero()[0])

    tokens = []
    for i, guess in enumerate(guesses):
        if luck[i] < p[i, guess] / q[i, guess]:
            tokens.append(guess)
            continue
        tokens.append(draw(rest(p[i], q[i]) if rest else (p[i] - q[i]).clamp(min=0)))
        if not go_on:
            return tokens
    return [*tokens, draw(p[-1])] if extra else tokens


@exercise
def one_pass(answer) -> str:
    """``answer(p, q, guesses, luck)``: the tokens that one pass of speculative decoding yields."""
    for seed in range(24):
        n_guesses, size = [1, 3, 4][seed % 3], [3, 5, 7, 4][seed % 4]
        p, q = _shares(n_guesses + 1, size, seed=seed), _shares(n_guesses, size, seed=100 + seed)
        generator = torch.Generator().manual_seed(seed)
        guesses = torch.multinomial(q, 1, generator=generator)[:, 0].tolist()
        luck = torch.rand(n_guesses + 1, dtype=torch.float64, generator=generator) ** (1 + seed % 3)
        arguments = p, q, guesses, luck
        got, want = answer(*arguments), _pass(*arguments)
        case = f"{n_guesses} guesses of {size} tokens"
        for wrong, message in [
            ({"rest": lambda p, q: p}, "what replaces a guess is drawn from max(0, p - q), and not from p"),
            ({"rest": lambda p, q: q}, "what replaces a guess is drawn from max(0, p - q), and not from q"),
            ({"go_on": True}, "the first guess that is refused ends the pass"),
            ({"extra": False}, "if all guesses are kept, the last row of p gives one token more"),
        ]:
            if near(got, _pass(*arguments, **wrong)) and not near(got, want):
                raise WrongAnswer(f"{case}: {message}")
        compare(got, want, case)
    return "every pass yields one token more than the guesses that were kept"
