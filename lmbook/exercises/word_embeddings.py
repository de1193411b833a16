"""Checkers for the exercises of the chapter on word embeddings."""

import math

import torch
import torch.nn.functional as F

from lmbook.exercises.core import WrongAnswer, compare, exercise, near


def _draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _hints(got, want, case: str, **wrong) -> None:
    """Raise with the first hint whose value the answer is; then compare."""
    for hint, value in wrong.items():
        if not near(got, want) and near(got, value):
            raise WrongAnswer(f"{case}: {hint}")
    compare(got, want, case)


@exercise
def lookup_gradient(answer) -> str:
    """``answer(ids, gradient, vocab_size)`` is the gradient of the table, (V, D), from that of the rows read (T, D)."""
    for seed, (ids, size) in enumerate([([1, 1, 1, 4], 7), ([2, 0, 2], 3), ([5], 6), ([0, 3, 1, 3, 0, 3], 4)]):
        gradient, ids = _draw(seed, len(ids), seed + 2), torch.tensor(ids)
        want = F.one_hot(ids, size).double().T @ gradient
        once = torch.zeros(size, seed + 2, dtype=torch.float64)
        once[ids] = gradient
        hints = {
            "a row that was read twice gets the sum of both gradients": once,
            "the gradients of a row are added, not averaged": want / ids.bincount(minlength=size).clamp(min=1)[:, None],
        }
        _hints(answer(ids, gradient, size), want, f"ids {ids.tolist()}, {size} words", **hints)
    return "each row gets the sum over the places where it was read"


@exercise
def always_kept(answer) -> str:
    """``answer(t)`` is the greatest relative frequency whose words word2vec's program keeps all."""
    golden = (1 + 5**0.5) / 2
    for t in (1e-4, 1e-3, 0.02):
        hints = {
            "that is the limit of the paper's rule": t,
            "that is one over the square root; square it": t * golden,
            "solve for f, not for t": t / golden**2,
        }
        _hints(answer(t), t * golden**2, f"t = {t}", **hints)
    return "the golden ratio, squared, times t"


@exercise
def smoothed_ppmi(answer) -> str:
    """``answer(near, power)`` is PPMI whose contexts are taken as frequent as their totals to a power say."""
    tables = [
        [[4, 0, 1, 7], [0, 1, 2, 0], [3, 2, 8, 1]],
        [[0, 2], [2, 0]],
        [[6, 2, 1], [1, 0, 3], [1, 5, 5]],
        [[3, 0, 1], [0, 0, 0], [1, 0, 9]],
    ]
    for table in tables:
        for power in (0.75, 1.0, 0.5):
            counts = torch.tensor(table, dtype=torch.float64)
            want = _ppmi(counts, power)
            got = answer(counts, power)
            case = f"near = {table}, power {power}"
            if isinstance(got, torch.Tensor) and got.shape == want.shape and got.is_floating_point():
                if got.isnan().any():
                    raise WrongAnswer(f"{case}: NaN, from a word that never occurs: 0 divided by 0")
                if got.isinf().any():
                    raise WrongAnswer(f"{case}: a pair that never occurs has PMI minus infinity, and positive PMI 0")
                if (got < 0).any():
                    raise WrongAnswer(f"{case}: negative values; set them to 0")
            rows = counts.sum(1, keepdim=True)
            hints = {
                "the power does nothing": _ppmi(counts, 1.0),
                "that is in bits; use the natural logarithm": want / math.log(2),
                "the power belongs to the contexts (columns) alone": _ppmi(counts, power, rows=rows**power),
                "the smoothed totals must add up to 1 again": _ppmi(counts, power, whole=counts.sum()),
            }
            if counts.shape[0] == counts.shape[1]:
                hints["rows and columns are exchanged"] = _ppmi(counts.T, power).T
            _hints(got, want, case, **hints)
    return "how much more often than by chance, and rare contexts made a little less rare"


def _ppmi(counts, power, *, rows=None, whole=None):
    rows = counts.sum(1, keepdim=True) if rows is None else rows
    columns = counts.sum(0) ** power
    share = columns / (columns.sum() if whole is None else whole)
    pmi = (counts / (rows * counts.sum() / counts.sum() * share)).log()
    return torch.where(counts > 0, pmi, 0.0).clamp(min=0)


@exercise
def analogy_by_product(answer) -> str:
    """``answer(vectors, a, b, c)`` is the id of the word that is to c what b is to a, by products of cosines."""
    for seed in range(24):
        vectors = _draw(seed, 30, 4) * (1 + 3 * torch.rand(30, 1, generator=torch.Generator().manual_seed(seed)))
        a, b, c = torch.randperm(30, generator=torch.Generator().manual_seed(seed))[:3].tolist()
        got = answer(vectors, a, b, c)
        if not near(got, int(got)):
            raise WrongAnswer(f"return the id of a word, got {got}")
        if int(got) in (a, b, c):
            raise WrongAnswer("your answer is one of the three words of the question; leave them out")
        likes = (F.normalize(vectors, dim=-1) @ F.normalize(vectors[[a, b, c]], dim=-1).T).T
        want, added = _best(_product(likes), a, b, c), _best(likes[1] - likes[0] + likes[2], a, b, c)
        case = f"case {seed}, a, b, c = {a}, {b}, {c}"
        hints = {
            "that is the word by sums; multiply and divide": added,
            "bring the cosines between 0 and 1 first": _best(likes[1] * likes[2] / (likes[0] + 1e-3), a, b, c),
        }
        dots = (vectors @ vectors[[a, b, c]].T).T
        hints["cosines, not dot products"] = _best(_product(dots), a, b, c)
        _hints(got, want, case, **hints)
    return "like b and like c, and unlike a, each in proportion"


def _product(likes):
    a, b, c = (likes + 1) / 2
    return b * c / (a + 1e-3)


def _best(scores, *taken) -> int:
    scores = scores.clone()
    scores[list(taken)] = -torch.inf
    return int(scores.argmax())


@exercise
def windows(answer) -> str:
    """``answer`` is {1: (WordSim, SimLex), 10: (WordSim, SimLex)}: agreement of PPMI + SVD for two windows."""
    measured = {1: (0.333, 0.143), 10: (0.489, 0.214)}
    if not isinstance(answer, dict) or set(answer) != set(measured):
        raise WrongAnswer("give a dict with the keys 1 and 10, each with two numbers, WordSim and SimLex")
    for window, want in measured.items():
        got = answer[window]
        case = f"window {window}, (WordSim, SimLex)"
        if near(got, want[::-1], atol=0.03) and not near(got, want, atol=0.03):
            raise WrongAnswer(f"{case}: the two tests are exchanged")
        compare(got, list(want), case, atol=0.03)
    return "on this text the wide window is better on both"


@exercise
def sgns_step(answer) -> str:
    """``answer(centre, context, negatives, lr)`` is the centre, the context and the negatives after one step."""
    for seed, (n, lr) in enumerate([(1, 0.1), (5, 0.5), (2, 1.0)]):
        centre, context, negatives = _draw(seed, 4), _draw(seed + 10, 4), _draw(seed + 20, n, 4)
        got = answer(centre, context, negatives, lr)
        if not isinstance(got, tuple | list) or len(got) != 3:
            raise WrongAnswer(f"return three things, centre, context and negatives, got {type(got).__name__}")
        right, wrong = torch.sigmoid(-context @ centre), torch.sigmoid(negatives @ centre)
        pull, push = right * context, wrong @ negatives
        moved = centre + lr * (pull - push)
        far = wrong[:, None]
        wants = {
            "the centre": (moved, {
                "it goes uphill: the context must come nearer, the negatives go away": centre - lr * (pull - push),
                "the negatives do nothing": centre + lr * pull,
                "the negatives are averaged; the loss adds them up": centre + lr * (pull - push / n),
                "each vector is weighted by how wrong its score is": centre + lr * (context - negatives.sum(0)),
            }),
            "the context": (context + lr * right * centre, {
                "it has not moved": context,
                "it is moved by the new centre; take all gradients first": context + lr * right * moved,
            }),
            "the negatives": (negatives - lr * far * centre, {
                "they have not moved": negatives,
                "they are moved by the new centre; take all gradients first": negatives - lr * far * moved,
                "they come nearer; they have to go away": negatives + lr * far * centre,
            }),
        }  # fmt: skip
        for (what, (want, hints)), value in zip(wants.items(), got, strict=True):
            _hints(value, want, f"{n} negatives, lr {lr}: {what}", **hints)
    return "pulled by its context, pushed by the negatives, and they by it, each as far as it is wrong"
