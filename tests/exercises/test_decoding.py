"""The exercises of the decoding chapter, four ways."""

import pytest
import torch

from lmbook.exercises import decoding as check


def stub(*args): ...


def heat(p, temperature):
    powers = p ** (1 / temperature)
    return powers / powers.sum()


def nucleus(p, least):
    order = p.argsort(descending=True, stable=True)
    before = p[order].cumsum(-1) - p[order]
    keep = torch.zeros_like(p, dtype=torch.bool)
    keep[order] = before < least
    return keep


def too_small(p, least):
    order = p.argsort(descending=True, stable=True)
    keep = torch.zeros_like(p, dtype=torch.bool)
    keep[order] = p[order].cumsum(-1) <= least
    return keep


def grams(tokens, n):
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def repeated(tokens, n):
    return 1 - len(set(grams(tokens, n))) / len(grams(tokens, n))


def counted_twice(tokens, n):
    found = grams(tokens, n)
    return sum(found.count(gram) > 1 for gram in found) / len(found)


def read(n_prompt, n_new):
    return sum(n_prompt + step for step in range(n_new)), n_prompt + n_new - 1


def replacement(p, q):
    rest = (p - q).clamp(min=0)
    return torch.minimum(p, q).sum(), rest / rest.sum()


TABLE = [
    (
        check.heat,
        {
            "stub": stub,
            "reference": heat,
            "wrong": [
                (lambda p, t: (p / t).softmax(-1), "divided the probabilities"),
                (lambda p, t: heat(p, 1 / t), "wrong way round"),
                (lambda p, t: p ** (1 / t), "expected"),
            ],
        },
    ),
    (
        check.nucleus,
        {
            "stub": stub,
            "reference": nucleus,
            "wrong": [
                (too_small, "stay below p"),
                (lambda p, least: p.cumsum(-1) - p < least, "from the left"),
                (lambda p, least: p > 9, "no token is left"),
                (lambda p, least: nucleus(p, least).float(), "True and False"),
            ],
        },
    ),
    (
        check.repeated,
        {
            "stub": stub,
            "reference": repeated,
            "wrong": [
                (lambda tokens, n: 1 - repeated(tokens, n), "take it from 1"),
                (counted_twice, "first time does not count"),
                (lambda tokens, n: repeated(tokens, 1), "expected"),
            ],
        },
    ),
    (
        check.tokens_read,
        {
            "stub": stub,
            "reference": read,
            "wrong": [
                (lambda n, m: read(n, m)[::-1], "other way round"),
                (lambda n, m: (read(n, m)[0], n + m), "one too many"),
                (lambda n, m: (n * m, n + m - 1), "expected"),
            ],
        },
    ),
    (
        check.replacement,
        {
            "stub": stub,
            "reference": replacement,
            "wrong": [
                (lambda p, q: (torch.minimum(p, q).sum(), p), "take away what q gave"),
                (lambda p, q: (torch.minimum(p, q).sum(), (p - q).clamp(min=0)), "divide it by its sum"),
                (lambda p, q: torch.minimum(p, q).sum(), "return two things"),
                (lambda p, q: ((p * q).sum(), replacement(p, q)[1]), "share kept"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
