"""The exercises of the decoding chapter, four ways."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from lmbook.exercises import decoding as check


def stub(*args): ...


def text_score(logits, tokens, alpha):
    return sum(row.log_softmax(-1)[token] for row, token in zip(logits, tokens, strict=True)) / len(tokens) ** alpha


def at(p, temperature):
    powers = p ** (1 / temperature)
    return powers / powers.sum()


def entropy(p):
    return float(torch.special.entr(p).sum())


def temperature_for(p, wanted):
    return brentq(lambda t: entropy(at(p, t)) - wanted, 0.05, 20)


def upside_down(p, wanted):
    return 1 / temperature_for(p, wanted)


def by_grid(p, wanted):
    grid = torch.logspace(math.log10(0.05), math.log10(20), 20_000, dtype=torch.float64)
    shares = (p.log() / grid[:, None]).softmax(-1)
    return grid[(torch.special.entr(shares).sum(-1) - wanted).abs().argmin()].float()


def nucleus(p, least, before=lambda sums, least: sums < least):
    order = p.argsort(descending=True, stable=True)
    keep = torch.zeros_like(p, dtype=torch.bool)
    keep[order] = before(p[order].cumsum(-1) - p[order], least)
    return keep


def nucleus_by_loop(p, least):
    keep, total = [False] * len(p), 0.0
    for i in sorted(range(len(p)), key=lambda i: -float(p[i])):
        if total >= least:
            break
        keep[i] = True
        total += float(p[i])
    return keep


def too_small(p, least):
    order = p.argsort(descending=True, stable=True)
    keep = torch.zeros_like(p, dtype=torch.bool)
    keep[order] = p[order].cumsum(-1) <= least
    return keep


def all_ties(p, least):
    ranked = p.sort(descending=True).values
    return p >= ranked[min(int((ranked.cumsum(-1) < least).sum()), len(p) - 1)]


def banned(tokens, n):
    """By trying each token."""
    grams = {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}
    return {t for t in tokens if (*tokens[len(tokens) - n + 1 :], t) in grams} if len(tokens) >= n else set()


def banned_in_place(tokens, n):
    found = []
    tokens.reverse()
    last = tokens[: n - 1]
    for i in range(1, len(tokens) - n + 2):
        if tokens[i : i + n - 1] == last:
            found.append(tokens[i - 1])
    return found


def banned_as_text(tokens, n):
    last = "".join(map(str, tokens[len(tokens) - n + 1 :]))
    places = range(len(tokens) - n + 1)
    return {tokens[i + n - 1] for i in places if "".join(map(str, tokens[i : i + n - 1])) == last}


def banned_minus_zero(tokens, n):
    last = tokens[-(n - 1) :]
    return {tokens[i + n - 1] for i in range(len(tokens) - n + 1) if tokens[i : i + n - 1] == last}


def no_overlap(tokens, n):
    last, head = tokens[len(tokens) - n + 1 :], tokens[: max(0, len(tokens) - n + 1)]
    places = range(len(head) - n + 2)
    return {tokens[i + n - 1] for i in places if head[i : i + n - 1] == last and i + n - 1 < len(tokens)}


def first_only(tokens, n):
    return set(list(banned_in_place(tokens, n))[-1:])


def kept_counts(logits, temperature):
    def nucleus_size(z):
        return int((z.softmax(-1).sort(descending=True).values.cumsum(-1) < 0.9).sum()) + 1

    hot = logits / temperature
    return nucleus_size(hot), int((hot.softmax(-1) >= 0.1 * hot.softmax(-1).max()).sum()), nucleus_size(logits)


def one_pass(p, q, guesses, luck, rest=lambda p, q: torch.relu(p - q)):
    for i, guess in enumerate(guesses):
        if luck[i] >= min(1, p[i][guess] / q[i][guess]):
            return [*guesses[:i], draw(rest(p[i], q[i]), luck[-1])]
    return [*guesses, draw(p[-1], luck[-1])]


def draw(weights, luck):
    total = 0.0
    for token, weight in enumerate((weights / weights.sum()).tolist()):
        total += weight
        if total > luck:
            return token


def goes_on(p, q, guesses, luck):
    kept = [luck[i] < p[i][g] / q[i][g] for i, g in enumerate(guesses)]
    rest = [(p[i] - q[i]).clamp(min=0) for i in range(len(guesses))]
    return [g if k else draw(r, luck[-1]) for g, k, r in zip(guesses, kept, rest, strict=True)] + [
        draw(p[-1], luck[-1])
    ]


def nothing_more(p, q, guesses, luck):
    tokens = one_pass(p, q, guesses, luck)
    return tokens[: len(guesses)]


TABLE = [
    (
        check.text_score,
        {
            "stub": stub,
            "reference": text_score,
            "right": [
                lambda z, tokens, a: z.float().log_softmax(-1)[range(len(tokens)), tokens].sum() / len(tokens) ** a,
                lambda z, tokens, a: (
                    float(np.log(z.softmax(-1).numpy()[range(len(tokens)), tokens]).sum()) / len(tokens) ** a
                ),
            ],
            "wrong": [
                (lambda z, t, a: z[range(len(t)), t].sum() / len(t) ** a, "a logit is no log-probability"),
                (lambda z, t, a: z.softmax(-1)[range(len(t)), t].prod() / len(t) ** a, "that is the probability"),
                (lambda z, t, a: -text_score(z, t, a), "without a minus"),
                (lambda z, t, a: text_score(z, t, 1), "to the power alpha"),
                (lambda z, t, a: text_score(z, t, 0), "5 tokens, alpha 1.0"),
            ],
        },
    ),
    (
        check.temperature_for,
        {
            "stub": stub,
            "reference": temperature_for,
            "right": [by_grid, lambda p, wanted: np.float64(temperature_for(p, wanted))],
            "wrong": [
                (lambda p, wanted: temperature_for(p, min(wanted * math.log(2), 3)), "that many bits"),
                (upside_down, "the wrong way round"),
                (lambda p, wanted: 1.0, "at temperature 1 the entropy is"),
                (lambda p, wanted: 0.0, "between 0.05 and 20"),
            ],
        },
    ),
    (
        check.nucleus,
        {
            "stub": stub,
            "reference": nucleus,
            "right": [nucleus_by_loop, lambda p, least: nucleus(p.float(), least).numpy()],
            "wrong": [
                (too_small, "stay below p"),
                (lambda p, least: p.cumsum(-1) - p < least, "from the left"),
                (lambda p, least: p > 9, "no token is left"),
                (lambda p, least: nucleus(p, least).float(), "True and False"),
                (lambda p, least: nucleus(p, least, lambda sums, least: sums <= least), "one token too many"),
                (all_ties, "that tie"),
            ],
        },
    ),
    (
        check.banned,
        {
            "stub": stub,
            "reference": banned,
            "right": [banned_in_place, lambda tokens, n: torch.tensor(sorted(banned(tokens, n)), dtype=torch.long)],
            "wrong": [
                (banned_as_text, r"\[1, 12, 9, 11, 2\], n = 3: 9 is allowed"),
                (banned_minus_zero, r"n = 1: 4 would complete"),
                (no_overlap, r"\[8, 8, 8\], n = 3: 8 would complete"),
                (first_only, "n = 2: 7 would complete"),
                (lambda tokens, n: banned(tokens[:-1], n), "1, 2, 3, 1, 2"),
                (lambda tokens, n: set(tokens), "1 is allowed"),
                (lambda tokens, n: 3, "return a set of tokens, got 3"),
            ],
        },
    ),
    (
        check.kept_counts,
        {
            "stub": stub,
            "reference": kept_counts,
            "right": [
                lambda z, t: torch.tensor(kept_counts(z, t)),
                lambda z, t: np.array(kept_counts(z, t), dtype=float),
            ],
            "wrong": [
                (lambda z, t: kept_counts(z, 1 / t), "divided by the temperature"),
                (lambda z, t: (*kept_counts(z, t)[:2], kept_counts(z, t)[0]), "sees no temperature"),
                (lambda z, t: kept_counts(z, 1), "nothing was heated"),
                (lambda z, t: kept_counts(z, t)[:2], "expected shape"),
            ],
        },
    ),
    (
        check.one_pass,
        {
            "stub": stub,
            "reference": one_pass,
            "right": [
                lambda p, q, guesses, luck: one_pass(p.float(), q.float(), guesses, luck),
                lambda p, q, guesses, luck: np.array(
                    one_pass(p.numpy(), q.numpy(), guesses, luck.numpy(), lambda p, q: np.maximum(p - q, 0))
                ),
            ],
            "wrong": [
                (lambda *a: one_pass(*a, rest=lambda p, q: p), "and not from p"),
                (lambda *a: one_pass(*a, rest=lambda p, q: q), "and not from q"),
                (goes_on, "ends the pass"),
                (nothing_more, "gives one token more"),
                (lambda p, q, guesses, luck: [*guesses, draw(p[-1], luck[-1])], "expected"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
