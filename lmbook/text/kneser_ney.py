"""Kneser-Ney smoothing: counts are discounted, and a shorter context counts in how
many places a word is new.

Source: Kneser and Ney 1995, "Improved backing-off for m-gram language modeling"; Chen
and Goodman 1999, "An empirical study of smoothing techniques for language modeling".
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from lmbook.text.ngram import NGram, _as_lists

FALLBACK = (0.5, 1.0, 1.5)  #: Discounts of an order whose counts of counts give none.


class KneserNey(NGram):
    """Modified Kneser-Ney, interpolated: each order takes a discount off each count,
    and the order below shares out what was taken.

    ``p_n(w | c) = (count(c, w) - D(count)) / count(c) + left(c) p_{n-1}(w | shorter c)``

    where left(c) is the sum of the discounts over count(c), and the order below the
    first is 1 / V. Where a context was never seen, p_n = p_{n-1}. At the highest order
    a count is how often an n-gram occurs; below, how many different words stand before
    it. (What begins with the start of a sequence has nothing before it, and keeps how
    often it occurs.) D is one number for counts of 1, one for 2, one for 3 and more.

    After `fit`, `discounts` holds them for orders 1, 2, ..., order: the source's
    estimates from n_1 to n_4, the numbers of n-grams with counts 1 to 4. Where one of
    these is 0 or an estimate is not above 0, as on a few sentences or at order 1 of a
    small vocabulary, that order gets `FALLBACK`, which is not in the source.

    Args:
        order: words that the model looks at, with the one that it predicts.

    Source: Chen and Goodman 1999, sec. 3. Book: language-models.
    """

    def __init__(self, order: int) -> None:
        super().__init__(order)
        self.discounts = []

    def log_probs(self, sequence: Iterable) -> list[float]:
        """The log-probability in nats of each word, given those before it."""
        (sequence,) = _as_lists([sequence], name="sequence")
        return self._probs(self._windows([sequence])).log().tolist() if sequence else []

    def _count(self, sequences: list[list]) -> None:
        windows, base = self._windows(sequences), len(self.vocab) + 1
        words, context = windows[:, -1], torch.zeros(len(windows), dtype=torch.long)
        self._contexts, self._grams = [], []  # of each order: sorted keys, whose places are ids
        for n in range(self.order):
            longer = context * base + (windows[:, -1 - n] if n else 0)
            keys, context = longer.unique(return_inverse=True)
            grams, counts = (context * base + words).unique(return_counts=True)
            self._contexts.append(keys)
            self._grams.append(grams)

        self._kept, self._leftover, self.discounts = [], [], []
        for n in reversed(range(self.order)):
            context, word = self._grams[n] // base, self._grams[n] % base
            total = torch.bincount(context, counts).double()
            found = _discounts(counts)
            taken = torch.tensor([0.0, *found], dtype=torch.float64)[counts.clamp(max=3)]
            self.discounts.insert(0, found)
            self._kept.insert(0, (counts - taken) / total[context])
            self._leftover.insert(0, torch.bincount(context, taken) / total)
            if n:
                shorter = self._contexts[n] // base  # without its first word
                inside = torch.searchsorted(self._grams[n - 1], shorter[context] * base + word)
                at_start = (self._contexts[n - 1] % base == 0)[shorter] & (n > 1)
                worth = torch.where(at_start[context], counts, 1)
                counts = torch.zeros_like(self._grams[n - 1]).index_add_(0, inside, worth)

    def _probs(self, windows: Tensor) -> Tensor:
        """The probability of the last word of each row, (B, order) to (B,)."""
        base, words = len(self.vocab) + 1, windows[:, -1]
        probs = torch.full((len(windows),), 1 / len(self.vocab), dtype=torch.float64)
        context = torch.zeros(len(windows), dtype=torch.long)
        for n in range(self.order):
            longer = context * base + (windows[:, -1 - n] if n else 0)
            context, seen = _find(self._contexts[n], longer)
            gram, counted = _find(self._grams[n], context * base + words)
            mixed = self._kept[n][gram] * counted + self._leftover[n][context] * probs
            probs = torch.where(seen, mixed, probs)
            context = torch.where(seen, context, -1)  # nor was a longer one seen
        return probs

    def _prob(self, id: int, context: tuple[int, ...]) -> float:
        return self._probs(torch.tensor([[*context, id]]) + 1).item()

    def _next_probs(self, context: tuple[int, ...]) -> Tensor:
        rows = [(*context, id) for id in range(len(self.vocab))]
        return self._probs(torch.tensor(rows) + 1)

    def _windows(self, sequences: list[list]) -> Tensor:
        """Each word with the order - 1 before it, as ids from 1; 0 is the start."""
        rows = [torch.tensor(self._padded(sequence)) + 1 for sequence in sequences if sequence]
        return torch.cat([row.unfold(0, self.order, 1) for row in rows])


def _discounts(counts: Tensor) -> list[float]:
    """What is taken off counts of 1, of 2 and of 3 or more."""
    n = torch.bincount(counts, minlength=5)[:5].tolist()
    if not all(n[1:]):
        return list(FALLBACK)
    y = n[1] / (n[1] + 2 * n[2])
    found = [i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)]
    return found if min(found) > 0 else list(FALLBACK)


def _find(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Places of what is wanted among sorted keys, and whether it is there at all."""
    places = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return places, keys[places] == wanted
