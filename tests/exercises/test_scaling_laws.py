"""The exercises of the chapter on scaling laws, four ways."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import huber

from lmbook.exercises import scaling_laws as check


def stub(*args): ...


def affordable(hours, peak, share, ratio, *, six=6, unit=3600, power=1):
    n = math.sqrt(hours * unit * peak * share**power / (six * ratio))
    return n, ratio * n


def cheapest(loss, law, *, share=lambda alpha, beta: beta / (alpha + beta), floor=True):
    e, a, b, alpha, beta = law
    if loss <= e and floor:
        return math.inf, math.inf
    part = share(alpha, beta)
    debt = abs(loss - e)
    return (a / (part * debt)) ** (1 / alpha), (b / ((1 - part) * debt)) ** (1 / beta)


def cheapest_by_search(loss, law):
    """Tries sizes; the text is what the law asks for."""
    e, a, b, alpha, beta = law
    n = np.exp(np.linspace(0, 100, 400_001))
    left = loss - e - a / n**alpha
    if not (left > 0).any():
        return math.inf, math.inf
    n, left = n[left > 0], left[left > 0]
    d = (b / left) ** (1 / beta)
    best = (np.log(n) + np.log(d)).argmin()
    return n[best], d[best]


def with_floor(x, y, *, search=True):
    def line(e):
        (slope, intercept), rest, *_ = np.polyfit(np.log(x), np.log(y - e), 1, full=True)
        return float(rest[0]) if len(rest) else 0.0, math.exp(intercept), -slope

    near = min(np.linspace(0, y.min(), 500)[:-1], key=lambda e: line(e)[0])
    step = y.min() / 500
    found = minimize_scalar(
        lambda e: line(e)[0], bounds=(near - step, min(near + step, y.min() - 1e-12)), method="bounded"
    )
    e = found.x if search else 0.0
    return e, *line(e)[1:]


def with_floor_by_grid(x, y):
    best = None
    for e in np.linspace(0, y.min(), 20_001)[:-1]:
        fit, rest, *_ = np.polyfit(np.log(x), np.log(y - e), 1, full=True)
        if best is None or rest[0] < best[0]:
            best = (rest[0], e, math.exp(fit[1]), -fit[0])
    return np.array(best[1:])


def exponents(x, y):
    u, v = np.log(x) - np.log(x).mean(), np.log(y)
    line = np.polyfit(u, v, 1)
    found = minimize(lambda p: 1e3 * huber(0.01, v - p[0] - p[1] * u).sum(), line[::-1], method="Nelder-Mead",
                     options={"xatol": 1e-8, "fatol": 1e-9, "maxiter": 5000})  # fmt: skip
    return -line[0], -found.x[1]


def served(big, d_big, small, law, *, per=3, floor=True):
    e, a, b, alpha, beta = law
    left = a / big**alpha + b / d_big**beta - a / small**alpha
    if left <= 0 and floor:
        return math.inf
    d_small = (b / abs(left)) ** (1 / beta)
    return max(per * (small * d_small - big * d_big) / (big - small), 0.0) if per else d_small


def halves(alpha, beta):
    return 0.5


TABLE = [
    (
        check.affordable,
        {
            "stub": stub,
            "reference": affordable,
            "right": [
                lambda *all: list(affordable(*all)),
                lambda *all: torch.tensor(affordable(*all), dtype=torch.float64),
                lambda *all: np.array(affordable(*all)),
            ],
            "wrong": [
                (lambda *all: affordable(*all, six=1), "a sixth"),
                (lambda *all: affordable(*all, unit=1), "counts hours"),
                (lambda *all: affordable(*all, power=0), "only a share"),
                (lambda h, p, u, r: (h * 3600 * p * u / 6 / r, h * 3600 * p * u / 6), "solve for N"),
                (lambda *all: affordable(*all)[::-1], "N for"),
                (lambda *all: affordable(*all)[0], r"return \(N, D\)"),
                (lambda *all: (affordable(*all)[0], 20 * affordable(*all)[0]), "D for"),
                (lambda h, p, u, r: affordable(h, p, 0.4, r), "24 hours"),
            ],
        },
    ),
    (
        check.cheapest_for,
        {
            "stub": stub,
            "reference": cheapest,
            "right": [cheapest_by_search, lambda *all: np.array(cheapest(*all))],
            "wrong": [
                (lambda *all: cheapest(*all, share=halves), "the debts differ"),
                (lambda *all: cheapest(*all, share=lambda alpha, beta: alpha / (alpha + beta)), "not alpha on top"),
                (lambda *all: cheapest(*all, floor=False), "return .math.inf, math.inf"),
                (lambda *all: cheapest(*all)[::-1], "your N and D give"),
                (lambda *all: (-cheapest(*all)[0], cheapest(*all)[1]), "above 0; you returned -"),
                (lambda *all: cheapest(*all)[0], "return .N, D"),
                (lambda loss, law: (1e9, law[2] and 1e9), "your N and D give .*, not 1.790"),
                (lambda loss, law: (str(cheapest(loss, law)[0]), 1.0), "expected real numbers"),
            ],
        },
    ),
    (
        check.with_floor,
        {
            "stub": stub,
            "reference": with_floor,
            "right": [with_floor_by_grid, lambda x, y: torch.tensor(with_floor(x, y))],
            "wrong": [
                (lambda x, y: with_floor(x, y, search=False), "this is the straight line"),
                (lambda x, y: (*with_floor(x, y)[:2], -with_floor(x, y)[2]), "minus the slope"),
                (lambda x, y: (lambda e, a, p: (e, math.log(a), p))(*with_floor(x, y)), "logarithm of A"),
                (lambda x, y: (y.min(), 1.0, 1.0), "E for"),
                (lambda x, y: with_floor(x, y)[1:], "return .E, A, alpha"),
                (lambda x, y: (1.5, 20.0, 0.5), "8 points"),
            ],
        },
    ),
    (
        check.exponents,
        {
            "stub": stub,
            "reference": exponents,
            "right": [lambda x, y: torch.tensor(exponents(x, y)), lambda x, y: list(exponents(x, y))],
            "wrong": [
                (lambda x, y: exponents(x, y)[::-1], "first least squares"),
                (lambda x, y: (exponents(x, y)[0],) * 2, "should be linear"),
                (lambda x, y: tuple(-np.array(exponents(x, y))), "minus the slope"),
                (lambda x, y: (exponents(x, y)[0], 0.3), "point 0"),
                (lambda x, y: exponents(x, y)[0], "return .least squares, Huber"),
            ],
        },
    ),
    (
        check.break_even,
        {
            "stub": stub,
            "reference": served,
            "right": [
                lambda *all: torch.tensor(served(*all), dtype=torch.float64),
                lambda *all: np.float64(served(*all)),
            ],
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
