"""The exercises of the chapter on scaling laws, four ways."""

import math

import numpy as np
import pytest
import torch

from lmbook.exercises import scaling_laws as check


def stub(*args): ...


def count(d, layers, vocab, *, inside=12, ends=1):
    return inside * layers * d * d, inside * layers * d * d + ends * vocab * d


def days(n, d, chips, peak, share, *, per=6, unit=86400, power=1):
    return per * n * d / (chips * peak * share**power) / unit


def line(x, y):
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    return math.exp(intercept), -slope


def objective(theta, n, d, loss, *, kind="huber", logs=True, reduction="mean"):
    e, a, b, alpha, beta = theta
    said = np.exp(e) + np.exp(a) / n**alpha + np.exp(b) / d**beta
    said, loss = (torch.tensor(np.log(x) if logs else x) for x in (said, loss))
    if kind == "square":
        return float(((said - loss) ** 2).mean() / 2)
    return float(torch.nn.functional.huber_loss(said, loss, delta=1e-3, reduction=reduction))


def allocate(compute, law, *, six=6, swap=False):
    _, a, b, alpha, beta = law
    share = (alpha if swap else beta) / (alpha + beta)
    n = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (compute / six) ** share
    return n, compute / six / n


def served(big, d_big, small, law, *, per=3, floor=True):
    e, a, b, alpha, beta = law
    left = a / big**alpha + b / d_big**beta - a / small**alpha
    if left <= 0 and floor:
        return math.inf
    d_small = (b / abs(left)) ** (1 / beta)
    return max(per * (small * d_small - big * d_big) / (big - small), 0.0) if per else d_small


TABLE = [
    (
        check.parameters,
        {
            "stub": stub,
            "reference": count,
            "wrong": [
                (lambda *all: count(*all, inside=8), "where is attention"),
                (lambda *all: count(*all, inside=4), "where is the feed-forward"),
                (lambda *all: count(*all, ends=2), "tied"),
                (lambda *all: count(*all)[0], "two numbers"),
                (lambda *all: count(*all, inside=13), "the non-embedding parameters"),
            ],
        },
    ),
    (
        check.days,
        {
            "stub": stub,
            "reference": days,
            "wrong": [
                (lambda *all: days(*all, per=2), "forward pass alone"),
                (lambda *all: days(*all, unit=1), "seconds"),
                (lambda *all: days(*all, power=0), "share of their peak"),
                (lambda *all: days(*all, unit=3600), "expected"),
            ],
        },
    ),
    (
        check.power_law,
        {
            "stub": stub,
            "reference": line,
            "wrong": [
                (lambda x, y: (line(x, y)[0], -line(x, y)[1]), "minus the slope"),
                (lambda x, y: (math.log(line(x, y)[0]), line(x, y)[1]), "logarithm of the amplitude"),
                (lambda x, y: (y[0] * x[0] ** 0.5, 0.5), "expected"),
            ],
        },
    ),
    (
        check.objective,
        {
            "stub": stub,
            "reference": objective,
            "wrong": [
                (lambda *all: objective(*all, logs=False), "logarithms of the losses"),
                (lambda *all: objective(*all, kind="square"), "squared error everywhere"),
                (lambda *all: objective(*all, reduction="sum"), "not the sum"),
                (lambda *all: 0.0, "expected"),
            ],
        },
    ),
    (
        check.allocation,
        {
            "stub": stub,
            "reference": allocate,
            "wrong": [
                (lambda *all: allocate(*all, six=1), "a sixth"),
                (lambda *all: allocate(*all, swap=True), "alpha on top"),
                (lambda *all: allocate(*all)[::-1], "N for"),
            ],
        },
    ),
    (
        check.break_even,
        {
            "stub": stub,
            "reference": served,
            "wrong": [
                (lambda *all: served(*all, per=1), "three times less"),
                (lambda *all: served(*all, per=0), "what do both cost"),
                (lambda *all: served(*all, floor=False), "return math.inf"),
                (lambda *all: 1e12, "expected"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
