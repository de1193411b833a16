"""The exercises of the chapter on word embeddings, four ways."""

import pytest
import torch
import torch.nn.functional as F

from lmbook.exercises import word_embeddings as check


def stub(*args): ...


def keep(counts, t, *, extra=True):
    f = counts / counts.sum()
    return ((t / f).sqrt() + extra * t / f).clamp(max=1)


def pmi(near):
    rows = near.sum(1)
    return (near * near.sum() / (rows[:, None] * rows)).log()


def analogy(vectors, a, b, c, *, unit=True, exclude=True):
    units = F.normalize(vectors, dim=-1)
    used = units if unit else vectors
    scores = units @ (used[b] - used[a] + used[c])
    if exclude:
        scores[[a, b, c]] = -9
    return scores.argmax()


def step(centre, context, negatives, lr, *, sign=1, far=1.0):
    near = (1 - torch.sigmoid(centre @ context)) * context
    away = torch.sigmoid(negatives @ centre) @ negatives
    return centre + sign * lr * (near - far * away)


TABLE = [
    (
        check.lookup,
        {
            "stub": stub,
            "reference": lambda table, ids: F.one_hot(ids, len(table)).float() @ table,
            "wrong": [
                (lambda table, ids: F.one_hot(ids, len(table)).float(), "multiply them by the table"),
                (lambda table, ids: table, "expected shape"),
                (lambda table, ids: table[ids - 1], "expected"),
            ],
        },
    ),
    (
        check.keep_probability,
        {
            "stub": stub,
            "reference": keep,
            "wrong": [
                (lambda counts, t: keep(counts, t, extra=False), "the program adds"),
                (lambda counts, t: 1 - keep(counts, t), "dropped"),
                (lambda counts, t: (t / (counts / counts.sum())).sqrt() * 9, "above 1"),
                (lambda counts, t: keep(counts, t) ** 2, "expected"),
            ],
        },
    ),
    (
        check.ppmi,
        {
            "stub": stub,
            "reference": lambda near: pmi(near).clamp(min=0),
            "wrong": [
                (pmi, "minus infinity"),
                (lambda near: pmi(near).nan_to_num(neginf=0.0), "negative values"),
                (lambda near: pmi(near).clamp(min=0) / 0.6931471805599453, "in bits"),
                (lambda near: near / near.sum(), "expected"),
            ],
        },
    ),
    (
        check.analogy,
        {
            "stub": stub,
            "reference": analogy,
            "wrong": [
                (lambda *case: analogy(*case, exclude=False), "one of the three words"),
                (lambda *case: analogy(*case, unit=False), "length 1"),
                (lambda vectors, a, b, c: analogy(vectors, b, a, c), "expected"),
            ],
        },
    ),
    (
        check.sgns_step,
        {
            "stub": stub,
            "reference": step,
            "wrong": [
                (lambda *case: step(*case, sign=-1), "uphill"),
                (lambda *case: step(*case, far=0.0), "do nothing"),
                (lambda c, o, n, lr: step(c, o, n, lr, far=1 / len(n)), "averaged"),
                (lambda c, o, n, lr: c + lr * (o - n.sum(0)), "how wrong"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
