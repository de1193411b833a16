"""Kneser-Ney against fractions that are counted by looking through the texts, and against numbers done by hand."""

import math
from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
import torch

from lmbook.text import UNK, InterpolatedNGram, KneserNey, NGram, perplexity
from lmbook.text.corpora import load

TEXTS = [
    "the cat sat on the mat".split(),
    "the dog sat on the cat".split(),
    ["a", "cat"],
]
FALLBACK = [Fraction(1, 2), 1, Fraction(3, 2)]


class ByHand:
    """The formulas of Chen and Goodman, sec. 3, over tuples of words, by brute force."""

    def __init__(self, order, texts, vocab):
        self.order, self.vocab = order, vocab
        padded = [["<s>"] * (order - 1) + [w if w in vocab else UNK for w in text] for text in texts]
        self.runs = [tuple(text[i : i + order]) for text in padded for i in range(len(text) - order + 1)]
        self.counts = [self.count_all(n) for n in range(1, order + 1)]
        self.discounts = [self.estimate(counts) for counts in self.counts]

    def count_all(self, n):
        grams = {run[self.order - n :] for run in self.runs}
        return {gram: self.count(gram) for gram in grams}

    def count(self, gram):
        """How often at the highest order and at a start; else how many different words stand before it."""
        n = len(gram)
        ends = [run for run in self.runs if run[self.order - n :] == gram]
        if n == self.order or gram[0] == "<s>":
            return len(ends)
        return len({run[self.order - n - 1] for run in ends})

    def estimate(self, counts):
        n1, n2, n3, n4 = (sum(c == i for c in counts.values()) for i in (1, 2, 3, 4))
        if 0 in (n1, n2, n3, n4):
            return FALLBACK
        y = Fraction(n1, n1 + 2 * n2)
        found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        return found if min(found) > 0 else FALLBACK

    def prob(self, word, context):
        """context: order - 1 words"""
        n = len(context) + 1
        below = self.prob(word, context[1:]) if context else Fraction(1, len(self.vocab))
        counts = {gram[-1]: c for gram, c in self.counts[n - 1].items() if gram[:-1] == tuple(context)}
        if not counts:
            return below
        d = {w: self.discounts[n - 1][min(c, 3) - 1] for w, c in counts.items()}
        total = sum(counts.values())
        return (counts.get(word, 0) - d.get(word, 0)) / Fraction(total) + sum(d.values()) / Fraction(total) * below


def drawn(n_texts, n_words, letters, seed):
    """Texts whose words follow Zipf's law, so that all counts of counts occur."""
    weights = 1 / torch.arange(1.0, len(letters) + 1)
    rng = torch.Generator().manual_seed(seed)
    ids = torch.multinomial(weights, n_texts * n_words, replacement=True, generator=rng)
    return [[letters[i] for i in text] for text in ids.view(n_texts, n_words).tolist()]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_every_probability_is_what_fractions_say(order):
    model = KneserNey(order).fit(TEXTS)
    exact = ByHand(order, TEXTS, model.vocab)
    contexts = [list(c) for n in range(order + 1) for c in product(model.vocab, repeat=n)]
    for context in contexts:
        used = (["<s>"] * order + context)[len(context) + 1 :]
        want = [exact.prob(word, used) for word in model.vocab]
        assert sum(want) == 1 and min(want) > 0
        assert model.next_probs(context).tolist() == pytest.approx(want, abs=1e-15)
        assert [model.prob(word, context) for word in model.vocab] == pytest.approx(want, abs=1e-15)
    assert model.discounts[1:] == [[0.5, 1.0, 1.5]] * (order - 1)  # no pair occurs four times
    assert (model.discounts[0] == [0.5, 1.0, 1.5]) == (order > 1)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_discounts_and_probabilities_of_a_longer_text(order):
    texts = drawn(6, 60, "abcdefghij", seed=order)
    model = KneserNey(order).fit(texts, vocab="abcdefghijxy")
    exact = ByHand(order, texts, model.vocab)
    assert sum(d != [0.5, 1.0, 1.5] for d in model.discounts) >= order - 1  # estimated, at all orders but perhaps one
    for found, want in zip(model.discounts, exact.discounts, strict=True):
        assert found == pytest.approx([float(d) for d in want], abs=1e-14)
    new = drawn(1, 40, "abcdefghijxy", seed=9)[0]
    padded = ["<s>"] * (order - 1) + new
    want = [exact.prob(w, padded[i : i + order - 1]) for i, w in enumerate(new)]
    assert [math.exp(p) for p in model.log_probs(new)] == pytest.approx([float(p) for p in want], abs=1e-14)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_probabilities_sum_to_1_after_seen_and_unseen_contexts(order):
    ids = torch.tensor([[ord(c) for c in " ".join(text)] for text in drawn(1, 3000, "abcdefghij", seed=0)])
    model = KneserNey(order).fit(ids, vocab=range(128))
    for context in (
        [],
        [97],
        [127] * 6,
        ids[0, :3].tolist(),
        ids[0, 700:709],
        [97, 127, 97, 32],
    ):
        probs = model.next_probs(context)
        assert probs.dtype == torch.float64 and probs.min() > 0
        assert probs.sum().item() == pytest.approx(1, abs=1e-12)


def test_hand_values_of_a_bigram():
    """After 'new': york 3 times. 'york' has one word before it, 'tea' has three."""
    texts = [
        "new york",
        "new york",
        "new york",
        "green tea",
        "black tea",
        "iced tea",
    ]
    model = KneserNey(2).fit(
        [text.split() for text in texts],
        vocab="new york green black iced tea".split(),
    )
    one, many = 0.5, 1.5
    left = (one * 5 + many) / 8  # order 1: york 1, tea 3, new, green, black, iced 1 each (the start stands before them)
    york, tea = (1 - one) / 8 + left / 6, (3 - many) / 8 + left / 6
    assert model.prob("york", ["york"]) == pytest.approx(york)  # nothing was seen after york
    assert model.prob("tea", ["tea"]) == pytest.approx(tea) and tea > 1.5 * york  # though both occur three times
    assert model.prob("york", ["new"]) == pytest.approx((3 - many) / 3 + many / 3 * york)
    assert model.prob("tea", ["new"]) == pytest.approx(many / 3 * tea)
    assert model.prob("new") == pytest.approx((3 - many) / 6 + (many + 3 * one) / 6 * ((1 - one) / 8 + left / 6))


def test_starts_keep_how_often_they_occur():
    model = KneserNey(3).fit([["a", "b"], ["a", "b"], ["a", "c"], ["b", "a"]], vocab="abc")
    # the two words before the first one are starts; so (start, a) counts 3 at order 2, not 1
    lower = model.prob("a")
    one, many = 0.5, 1.5
    unigram = (2 - 1) / 5 + (1 + 1 + one) / 5 / 3  # before a: start, b; before b: start, a; before c: a
    bigram = (3 - many) / 4 + (many + one) / 4 * unigram
    assert lower == pytest.approx((3 - many) / 4 + (many + one) / 4 * bigram)


def test_it_is_an_ngram_like_the_others():
    model = KneserNey(3).fit(TEXTS)
    text = "the mat sat on a zebra".split()
    alone = [math.log(model.prob(word, text[:i])) for i, word in enumerate(text)]
    assert model.log_probs(text) == pytest.approx(alone, abs=1e-12) and len(alone) == 6
    total = sum(math.exp(sum(model.log_probs(words))) for words in product(model.vocab, repeat=3))
    assert total == pytest.approx(1, abs=1e-12)
    assert model.prob("zebra", ["the"]) == model.prob(UNK, ["the"])
    assert model.log_probs([]) == NGram(3).fit(TEXTS).log_probs([]) == []
    assert model.fit([[], ["x"], []]).vocab == [UNK, "x"] and model.prob("x") > 0.5  # nothing stays of before
    draw = [model.sample(5, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert draw[0] == draw[1] and len(draw[0]) == 5


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        KneserNey(0)
    with pytest.raises(ValueError, match="no counts: call fit"):
        KneserNey(2).prob("a")
    with pytest.raises(ValueError, match="no counts: call fit"):
        KneserNey(2).log_probs(["a"])
    with pytest.raises(ValueError, match="at least one word"):
        KneserNey(2).fit([[], []])
    with pytest.raises(TypeError, match="got the string"):
        KneserNey(2).fit("a text")
    with pytest.raises(ValueError, match="no <unk>, got 'z'"):
        KneserNey(2).fit([["a"]], vocab=["a"]).log_probs(["z"])


def test_on_real_text_it_beats_interpolation_at_every_order_above_one():
    texts = [document.text.lower().split() for document in load("news")]
    train, tune, test = texts[:240], texts[240:260], texts[260:]
    kept = Counter(word for text in train for word in text)
    vocab = [UNK, *(word for word, count in kept.items() if count >= 2)]

    def score(model):
        return perplexity([p for text in test for p in model.log_probs(text)])

    for order in (2, 3):
        mixed = score(InterpolatedNGram(order).fit(train, vocab=vocab).fit_weights(tune))
        assert score(KneserNey(order).fit(train, vocab=vocab)) < 0.95 * mixed
