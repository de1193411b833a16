"""The exercises of the chapter on word embeddings, four ways."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lmbook.exercises import word_embeddings as check


def stub(*args): ...


def gradient(ids, rows, size):
    return torch.zeros(size, rows.shape[1], dtype=rows.dtype).index_add(0, ids, rows)


def gradient_by_autograd(ids, rows, size):
    table = torch.zeros(size, rows.shape[1], dtype=rows.dtype, requires_grad=True)
    (table[ids] * rows).sum().backward()
    return table.grad


def gradient_by_loop(ids, rows, size):
    total = [[0] * rows.shape[1] for _ in range(size)]
    for id, row in zip(ids.tolist(), rows.tolist(), strict=True):
        total[id] = [a + b for a, b in zip(total[id], row, strict=True)]
    return total


def assigned(ids, rows, size):
    out = torch.zeros(size, rows.shape[1], dtype=rows.dtype)
    for id, row in zip(ids, rows, strict=True):
        out[id] = row
    return out


def averaged(ids, rows, size):
    return gradient(ids, rows, size) / ids.bincount(minlength=size).clamp(min=1)[:, None]


def kept(t):
    return t * (3 + 5**0.5) / 2


def kept_by_search(t):
    low, high = t, 9 * t
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (t / middle) ** 0.5 + t / middle >= 1 else (low, middle)
    return low


def pmi(near, power, *, rows=1.0, log=torch.log, whole=False):
    context = near.sum(0) ** power
    context = context / (near.sum() if whole else context.sum())
    word = (near.sum(1) ** rows)[:, None]
    return log(near / (word * context))


def ppmi(near, power, **options):
    return pmi(near, power, **options).nan_to_num(nan=0.0, neginf=0.0).clamp(min=0)


def ppmi_by_loop(near, power):
    near, out = near.tolist(), np.zeros(near.shape, dtype=np.float32)
    columns = [sum(row[j] for row in near) ** power for j in range(len(near[0]))]
    for i, row in enumerate(near):
        for j, count in enumerate(row):
            if count:
                out[i, j] = max(0, np.log(count * sum(columns) / (sum(row) * columns[j])))
    return out


def product(vectors, a, b, c, *, shift=True, unit=True, taken=True):
    used = F.normalize(vectors, dim=-1) if unit else vectors
    to_a, to_b, to_c = ((used @ used[i] + 1) / 2 if shift else used @ used[i] for i in (a, b, c))
    scores = to_b * to_c / (to_a + 1e-3)
    if taken:
        scores[[a, b, c]] = -9
    return scores.argmax()


def product_by_loop(vectors, a, b, c):
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).numpy().astype(np.float32)
    like = lambda x, y: (1 + float(unit[x] @ unit[y])) / 2  # noqa: E731
    return max(
        (i for i in range(len(unit)) if i not in (a, b, c)), key=lambda i: like(i, b) * like(i, c) / (like(i, a) + 1e-3)
    )


def by_sums(vectors, a, b, c):
    unit = F.normalize(vectors, dim=-1)
    scores = unit @ (unit[b] - unit[a] + unit[c])
    scores[[a, b, c]] = -9
    return scores.argmax()


def step(centre, context, negatives, lr, *, sign=1, far=1.0, fixed=False, after=False, still=False):
    near, away = 1 - torch.sigmoid(centre @ context), torch.sigmoid(negatives @ centre)
    new = centre + sign * lr * (near * context - far * away @ negatives)
    used = new if after else centre
    if fixed:
        return new, context, negatives
    return new, context + lr * near * used, negatives if still else negatives - lr * torch.outer(away, used)


def step_by_autograd(centre, context, negatives, lr):
    parts = [x.clone().requires_grad_() for x in (centre, context, negatives)]
    v, u, n = parts
    loss = -F.logsigmoid(u @ v) - F.logsigmoid(-(n @ v)).sum()
    return [p.detach().float() - lr * g.float() for p, g in zip(parts, torch.autograd.grad(loss, parts), strict=True)]


def step_in_place(centre, context, negatives, lr):
    near, away = torch.sigmoid(-(centre @ context)), torch.sigmoid(negatives @ centre)
    old = centre.clone()
    centre += lr * (near * context - away @ negatives)
    context += lr * near * old
    negatives -= lr * away[:, None] * old
    return centre, context, negatives


MEASURED = {1: (0.333, 0.143), 10: (0.489, 0.214)}

TABLE = [
    (
        check.lookup_gradient,
        {
            "stub": stub,
            "reference": gradient,
            "right": [
                gradient_by_autograd,
                gradient_by_loop,
                lambda ids, rows, size: F.one_hot(ids, size).float().T @ rows.float(),
                lambda ids, rows, size: np.eye(size)[ids.numpy()].T @ rows.numpy(),
            ],
            "wrong": [
                (assigned, "the sum of both"),
                (averaged, "not averaged"),
                (lambda ids, rows, size: rows, "expected shape"),
                (lambda ids, rows, size: F.one_hot(ids, 5).double().T @ rows, r"shape .7, 2., got .5, 2."),
            ],
        },
    ),
    (
        check.always_kept,
        {
            "stub": stub,
            "reference": kept,
            "right": [
                kept_by_search,
                lambda t: torch.tensor(kept(t)),
                lambda t: np.float32(kept(t)),
                lambda t: 2.618 * t,
            ],
            "wrong": [
                (lambda t: t, "paper's rule"),
                (lambda t: t * (1 + 5**0.5) / 2, "square it"),
                (lambda t: t * (3 - 5**0.5) / 2, "solve for f"),
                (lambda t: 2.6 * t, "expected"),
                (lambda t: kept(1e-4), "t = 0.001"),
            ],
        },
    ),
    (
        check.smoothed_ppmi,
        {
            "stub": stub,
            "reference": ppmi,
            "right": [
                ppmi_by_loop,
                lambda near, power: ppmi(near.float(), power),
                lambda near, power: ppmi(near, power).tolist(),
            ],
            "wrong": [
                (pmi, "minus infinity"),
                (lambda near, power: pmi(near, power).clamp(min=0), "NaN"),
                (lambda near, power: pmi(near, power).nan_to_num(neginf=0.0), "negative values"),
                (lambda near, power: ppmi(near, power, log=torch.log2), "in bits"),
                (lambda near, power: ppmi(near, 1.0), "does nothing"),
                (lambda near, power: ppmi(near, power, rows=power), "columns"),
                (lambda near, power: ppmi(near, power, whole=True), "add up to 1"),
                (lambda near, power: ppmi(near.T, power).T, "exchanged|expected"),
                (lambda near, power: near / near.sum(), "expected"),
            ],
        },
    ),
    (
        check.analogy_by_product,
        {
            "stub": stub,
            "reference": product,
            "right": [product_by_loop, lambda *case: float(product(*case)), lambda *case: np.int64(product(*case))],
            "wrong": [
                (lambda *case: product(*case, taken=False), "one of the three words"),
                (lambda *case: product(*case, shift=False), "between 0 and 1"),
                (lambda *case: product(*case, unit=False), "not dot products"),
                (by_sums, "multiply and divide"),
                (lambda vectors, a, b, c: product(vectors, b, a, c), "expected"),
            ],
        },
    ),
    (
        check.windows,
        {
            "stub": ...,
            "reference": MEASURED,
            "right": [
                {1: [0.34, 0.15], 10: [0.48, 0.22]},
                {10: torch.tensor([0.489, 0.214]), 1: np.array([0.333, 0.143])},
            ],
            "wrong": [
                ({1: (0.143, 0.333), 10: (0.214, 0.489)}, "exchanged"),
                ({1: MEASURED[10], 10: MEASURED[1]}, "expected"),
                ({1: MEASURED[1]}, "keys 1 and 10"),
                ({1: (0.333, 0.143), 10: (0.449, 0.203)}, "window 10"),
            ],
        },
    ),
    (
        check.sgns_step,
        {
            "stub": stub,
            "reference": step,
            "right": [step_by_autograd, step_in_place, lambda *case: [x.numpy() for x in step(*case)]],
            "wrong": [
                (lambda *case: step(*case, sign=-1), "uphill"),
                (lambda *case: step(*case, far=0.0), "do nothing"),
                (lambda c, o, n, lr: step(c, o, n, lr, far=1 / len(n)), "averaged"),
                (lambda c, o, n, lr: (c + lr * (o - n.sum(0)), o, n), "how wrong"),
                (lambda *case: step(*case, fixed=True), "it has not moved"),
                (lambda *case: step(*case, still=True), "they have not moved"),
                (lambda *case: step(*case, after=True), "new centre"),
                (lambda *case: step(*case)[0], "three things"),
                (lambda c, o, n, lr: step(c, o, n, 0.1), "lr 0.5"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
