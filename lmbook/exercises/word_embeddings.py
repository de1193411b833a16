"""Checkers for the exercises of the chapter on word embeddings."""

import torch
import torch.nn.functional as F

from lmbook.exercises.core import WrongAnswer, compare, exercise


def _draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@exercise
def lookup(answer) -> str:
    """``answer(table, ids)`` is the rows of table that ids name, by a matrix product and without indexing."""
    for seed, ids in enumerate([[0, 2], [1], [3, 3, 0, 1]]):
        table, ids = _draw(seed, 4, 3), torch.tensor(ids)
        got = answer(table, ids)
        if isinstance(got, torch.Tensor) and got.shape == (len(ids), 4) and ((got == 0) | (got == 1)).all():
            raise WrongAnswer("those are the one-hot vectors; multiply them by the table")
        compare(got, table[ids], f"ids {ids.tolist()}")
    return "a one-hot vector times a table is a row of the table"


@exercise
def keep_probability(answer) -> str:
    """``answer(counts, threshold)`` is the chance that word2vec's program keeps each word."""
    for counts, t in [([1, 9, 90], 0.1), ([500, 300, 200], 1e-3), ([5, 5], 0.9)]:
        counts = torch.tensor(counts)
        f = counts.double() / counts.sum()
        got, want = answer(counts, t), ((t / f).sqrt() + t / f).clamp(max=1)
        if isinstance(got, torch.Tensor) and got.shape == want.shape:
            if (got > 1 + 1e-6).any():
                raise WrongAnswer("a probability above 1: a rare word is kept for certain, so cut at 1")
            for other, hint in [
                ((t / f).sqrt().clamp(max=1), "that is the paper's; the program adds t / f to it"),
                (1 - want, "that is the chance that a word is dropped"),
            ]:
                if torch.allclose(got.double(), other) and not torch.allclose(other, want):
                    raise WrongAnswer(hint)
        compare(got, want, f"counts {counts.tolist()}, threshold {t}")
    return "frequent words are thinned out, rare ones all kept"


@exercise
def ppmi(answer) -> str:
    """``answer(near)`` is the positive pointwise mutual information of a matrix of co-occurrences."""
    for near in [[[0, 2], [2, 0]], [[6, 2, 1], [2, 0, 3], [1, 3, 5]], [[4, 0, 0], [0, 1, 2], [0, 2, 8]]]:
        near = torch.tensor(near, dtype=torch.float64)
        totals = near.sum(1)
        pmi = (near * near.sum() / torch.outer(totals, totals)).log()
        want, got = pmi.clamp(min=0), answer(near)
        if isinstance(got, torch.Tensor) and got.shape == want.shape:
            if got.isnan().any() or got.isinf().any():
                raise WrongAnswer("a pair that never occurs has PMI minus infinity, and positive PMI 0")
            if (got < 0).any():
                raise WrongAnswer("negative values: set them to 0")
            if torch.allclose(got.double(), want / torch.log(torch.tensor(2.0))) and want.any():
                raise WrongAnswer("that is in bits; use the natural logarithm")
        compare(got, want, f"near = {near.tolist()}")
    return "how much more often than by chance, and 0 where less often"


@exercise
def analogy(answer) -> str:
    """``answer(vectors, a, b, c)`` is the id of the word that is to c what b is to a; never a, b or c."""
    for seed in range(12):
        vectors = _draw(seed, 30, 4) * (1 + 3 * torch.rand(30, 1, generator=torch.Generator().manual_seed(seed)))
        a, b, c = torch.randperm(30, generator=torch.Generator().manual_seed(seed))[:3].tolist()
        unit = F.normalize(vectors, dim=-1)
        scores = unit @ (unit[b] - unit[a] + unit[c])
        free = int(scores.argmax())
        scores[[a, b, c]] = -torch.inf
        got, want = int(answer(vectors, a, b, c)), int(scores.argmax())
        if got in (a, b, c):
            raise WrongAnswer("your answer is one of the three words of the question; leave them out")
        plain = F.normalize(vectors, dim=-1) @ (vectors[b] - vectors[a] + vectors[c])
        plain[[a, b, c]] = -torch.inf
        if got != want and got == int(plain.argmax()):
            raise WrongAnswer("bring the vectors to length 1 before you add and subtract")
        compare(got, want, f"case {seed}, a, b, c = {a}, {b}, {c} (unrestricted: {free})")
    return "b - a + c among unit vectors, the question's own words left out"


@exercise
def sgns_step(answer) -> str:
    """``answer(centre, context, negatives, lr)`` is the centre's vector after one step, without autograd."""
    for seed, n in enumerate([1, 5, 2]):
        centre, context, negatives = _draw(seed, 4), _draw(seed + 10, 4), _draw(seed + 20, n, 4)
        pull = (1 - torch.sigmoid(context @ centre)) * context
        push = torch.sigmoid(negatives @ centre) @ negatives
        got, want = answer(centre, context, negatives, 0.1), centre + 0.1 * (pull - push)
        if isinstance(got, torch.Tensor) and got.shape == want.shape:
            for other, hint in [
                (centre - 0.1 * (pull - push), "it goes uphill: the context must come nearer, the negatives go away"),
                (centre + 0.1 * pull, "the negatives do nothing"),
                (centre + 0.1 * (pull - push / n), "the negatives are averaged; the loss adds them up"),
                (centre + 0.1 * (context - negatives.sum(0)), "each vector is weighted by how wrong its score is"),
            ]:
                if torch.allclose(got, other, atol=1e-6) and not torch.allclose(other, want, atol=1e-6):
                    raise WrongAnswer(hint)
        compare(got, want, f"{n} negatives")
    return "pulled by its context, pushed by the negatives, each as far as it is wrong"
