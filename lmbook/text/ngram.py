"""n-gram language models: the probability of a word from counts of the few words before it.

Source: Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", sec. 2.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from lmbook._checks import check_positive

UNK = "<unk>"  #: Stands for every word that is not in the vocabulary.
_START = -1  # fills the context before the first word; never predicted


class NGram:
    """An n-gram model with add-k smoothing: ``p(w | context) = (count(context, w) + k) / (count(context) + k V)``.

    With k = 0 it is maximum likelihood: unseen words have probability 0. A context that was never seen gives every word
    1 / V, whatever k is. Words can be anything hashable: strings, token ids, characters (``list(text)``). The end of
    a sequence is not predicted, unless the sequences carry an end token of their own.

    Args:
        order: words that the model looks at, with the one that it predicts: 1 unigram, 2 bigram, ...

    Source: Chen and Goodman 1999, sec. 2.1. Book: language-models.
    """

    def __init__(self, order: int, *, k: float = 1.0) -> None:
        check_positive(order=order)
        if not isinstance(k, (int, float)):
            raise TypeError(f"k must be a number, got {k!r}")
        if not 0 <= k < math.inf:
            raise ValueError(f"k must be at least 0 and finite, got {k}")
        self.order, self.k, self.vocab = order, k, []
        self._counted = [order - 1]  # lengths of the contexts that are counted

    def fit(
        self, sequences: Iterable[Iterable], *, vocab: Iterable[Hashable] | None = None, min_count: int = 1
    ) -> "NGram":
        """Count the n-grams of the sequences, and forget what was counted before.

        Args:
            vocab: all words, if they are known (``range(bpe.vocab_size)``). Words outside are counted as UNK if UNK is
                in it, and refused if not. By default it is UNK and the words that occur at least min_count times.
        """
        check_positive(min_count=min_count)
        sequences = _as_lists(sequences)
        if vocab is None:
            counts = Counter(word for sequence in sequences for word in sequence if word != UNK)
            vocab = [UNK, *(word for word, count in counts.items() if count >= min_count)]
        self.vocab = list(dict.fromkeys(vocab))
        self._ids = {word: id for id, word in enumerate(self.vocab)}
        if not self.vocab or not any(sequences):
            raise ValueError("vocab and sequences must hold at least one word, got none")
        self._count(sequences)
        return self

    def _count(self, sequences: list[list]) -> None:
        self._counts = defaultdict(Counter)  # context, as a tuple of ids -> how often each id came next
        for sequence in sequences:
            for context, id in self._positions(sequence):
                for n in self._counted:
                    self._counts[context[len(context) - n :]][id] += 1
        self._counts = dict(self._counts)
        self._totals = {context: counts.total() for context, counts in self._counts.items()}

    def prob(self, word: Hashable, context: Iterable = ()) -> float:
        """The probability of a word after a context: all words before it, of which the last order - 1 count."""
        before = self._context(context)
        return self._prob(self._id(word), before)

    def next_probs(self, context: Iterable = ()) -> Float[Tensor, "V"]:
        """The probability of each word of `vocab` after a context, in float64."""
        return self._next_probs(self._context(context))

    def log_probs(self, sequence: Iterable) -> list[float]:
        """The log-probability in nats of each word of a sequence, given those before it; -inf where it is 0."""
        (sequence,) = _as_lists([sequence], name="sequence")
        probs = [self._prob(id, context) for context, id in self._positions(sequence)]
        return [math.log(prob) if prob else -math.inf for prob in probs]

    def sample(self, n_words: int, *, context: Iterable = (), generator: Generator | None = None) -> list:
        """Draw n_words words, one after the other, that follow the context."""
        check_positive(n_words=n_words)
        (words,) = _as_lists([context], name="context")
        for _ in range(n_words):
            drawn = torch.multinomial(self.next_probs(words), 1, generator=generator)
            words.append(self.vocab[int(drawn)])
        return words[-n_words:]

    def _prob(self, id: int, context: tuple[int, ...]) -> float:
        if not (total := self._totals.get(context, 0)):
            return 1 / len(self.vocab)
        return (self._counts[context][id] + self.k) / (total + self.k * len(self.vocab))

    def _next_probs(self, context: tuple[int, ...]) -> Tensor:
        counts = self._estimate(context) * self._totals.get(context, 0) + self.k
        return counts / counts.sum() if counts.any() else torch.ones_like(counts) / len(counts)

    def _estimate(self, context: tuple[int, ...]) -> Tensor:
        """Maximum likelihood after a context; zeros where it was not seen."""
        counts = self._counts.get(context, {})
        estimate = torch.zeros(len(self.vocab), dtype=torch.float64)
        estimate[list(counts)] = torch.tensor(list(counts.values()), dtype=torch.float64)
        return estimate / max(1, self._totals.get(context, 0))

    def _positions(self, sequence: list):
        """Each position's context and word, as ids."""
        ids = self._padded(sequence)
        for end in range(self.order - 1, len(ids)):
            yield tuple(ids[end - self.order + 1 : end]), ids[end]

    def _context(self, context: Iterable) -> tuple[int, ...]:
        ids = self._padded(*_as_lists([context], name="context"))
        return tuple(ids[len(ids) - self.order + 1 :])

    def _padded(self, words: list) -> list[int]:
        if not self.vocab:
            raise ValueError("the model has no counts: call fit(sequences) first")
        return [_START] * (self.order - 1) + [self._id(word) for word in words]

    def _id(self, word: Hashable) -> int:
        id = self._ids.get(word, self._ids.get(UNK))
        if id is None:
            raise ValueError(f"words must be in the vocabulary of {len(self.vocab)}, which has no {UNK}, got {word!r}")
        return id


class InterpolatedNGram(NGram):
    """Jelinek-Mercer: each order mixes its maximum likelihood with the order below, down to 1 / V for every word.

    ``p_n(w | context) = weights[n-1] ML_n(w | context) + (1 - weights[n-1]) p_{n-1}(w | shorter context)``; where a
    context was never seen, p_n = p_{n-1}. The source has a weight for each bucket of contexts; here it is one for each
    order.

    Args:
        weights: for orders 1, 2, ..., order; 0.5 each if not given. `fit_weights` finds better ones.

    Source: Jelinek and Mercer 1980; Chen and Goodman 1999, sec. 2.3. Book: language-models.
    """

    def __init__(self, order: int, *, weights: Sequence[float] | None = None) -> None:
        super().__init__(order)
        weights = [0.5] * order if weights is None else list(weights)
        if len(weights) != order or not all(isinstance(w, (int, float)) and 0 <= w <= 1 for w in weights):
            raise ValueError(f"weights must be order={order} numbers in [0, 1], got {weights}")
        self.weights, self._counted = weights, list(range(order))

    def fit_weights(self, sequences: Iterable[Iterable], *, n_steps: int = 20) -> "InterpolatedNGram":
        """Raise the likelihood of held-out sequences by expectation-maximisation over the weights.

        On the sequences of `fit` themselves the highest order would get all the weight.
        """
        check_positive(n_steps=n_steps)
        ladders = [self._ladder(id, context) for text in _as_lists(sequences) for context, id in self._positions(text)]
        if not ladders:
            raise ValueError("sequences must hold at least one word, got none")
        for _ in range(n_steps):
            reached, stopped = [0.0] * self.order, [0.0] * self.order
            for ladder in ladders:
                probs = self._climb(ladder)
                share = 1.0  # of this word: the probability that the mixture came down to rung n, then that it stayed
                for n in reversed(range(len(ladder))):
                    if not probs[n + 1]:
                        break
                    stay = share * self.weights[n] * ladder[n] / probs[n + 1]
                    reached[n], stopped[n], share = reached[n] + share, stopped[n] + stay, share - stay
            self.weights = [s / r if r else w for s, r, w in zip(stopped, reached, self.weights, strict=True)]
        return self

    def _ladder(self, id: int, context: tuple[int, ...]) -> list[float]:
        """Maximum likelihood of a word at order 1, 2, ... as long as the context was seen."""
        contexts = [context[len(context) - n :] for n in range(self.order)]
        return [self._counts[c][id] / self._totals[c] for c in contexts if c in self._totals]

    def _climb(self, ladder: list[float]) -> list[float]:
        probs = [1 / len(self.vocab)]
        for weight, estimate in zip(self.weights, ladder, strict=False):
            probs.append(weight * estimate + (1 - weight) * probs[-1])
        return probs

    def _prob(self, id: int, context: tuple[int, ...]) -> float:
        return self._climb(self._ladder(id, context))[-1]

    def _next_probs(self, context: tuple[int, ...]) -> Tensor:
        probs = torch.full((len(self.vocab),), 1 / len(self.vocab), dtype=torch.float64)
        for n, weight in enumerate(self.weights):
            shorter = context[len(context) - n :]
            if shorter in self._totals:
                probs = weight * self._estimate(shorter) + (1 - weight) * probs
        return probs


def perplexity(log_probs: Iterable) -> float:
    """Two to the mean surprise in bits: of how many equally probable words the model chooses, on average.

    Args:
        log_probs: of each word, in nats.

    Source: Jelinek et al. 1977. Book: language-models.
    """
    log_probs = _checked(log_probs)
    return math.exp(-math.fsum(log_probs) / len(log_probs)) if -math.inf not in log_probs else math.inf


def bits_per_byte(log_probs: Iterable, n_bytes: int) -> float:
    """Surprise in bits over the bytes of the text, which makes models with different vocabularies comparable.

    Only for a model that spells out every byte: UNK is cheap to predict, and hides which word it stands for.

    Args:
        log_probs: of each word, in nats.
        n_bytes: length of the text in UTF-8, ``len(text.encode())``.

    Source: Gao et al. 2020 (The Pile), sec. 3.1. Book: language-models.
    """
    check_positive(n_bytes=n_bytes)
    return -sum(_checked(log_probs)) / math.log(2) / n_bytes


def _checked(log_probs) -> list[float]:
    log_probs = log_probs.flatten().tolist() if hasattr(log_probs, "tolist") else list(log_probs)
    if not log_probs:
        raise ValueError("log_probs must hold at least one number, got none")
    if bad := [value for value in log_probs if not value <= 0]:
        raise ValueError(f"log_probs must be at most 0, got {bad[0]}")
    return log_probs


def _as_lists(sequences, *, name: str = "sequences") -> list[list]:
    """Sequences as lists of words: the elements of a tensor are no keys for a dict, and those of a string no words."""
    if isinstance(sequences, str):
        raise TypeError(f"{name} must be a list of sequences of words, got the string {sequences!r:.60}")
    lists = [s.tolist() if hasattr(s, "tolist") else s for s in sequences]
    if bad := [s for s in lists if isinstance(s, str) or not isinstance(s, Iterable)]:
        raise TypeError(f"{name} must hold words in a sequence (text.split() or list(text)), got {bad[0]!r:.60}")
    return [list(s) for s in lists]
