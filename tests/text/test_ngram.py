"""n-gram models against fractions counted by brute force, and against numbers done by hand."""

import math
from fractions import Fraction
from itertools import product

import pytest
import torch

from lmbook.text import UNK, InterpolatedNGram, NGram, bits_per_byte, perplexity
from lmbook.text.corpora import load

TEXTS = ["the cat sat on the mat".split(), "the dog sat on the cat".split(), ["a", "cat"]]
MISSING = ["<s>", "<s>"]


def count(context, word=None):
    """Places in TEXTS where a word (or any) stands after a context, by looking at each."""
    found = 0
    for text in TEXTS:
        padded = MISSING + text
        for end in range(2, len(padded)):
            if padded[end - len(context) : end] == list(context) and word in (None, padded[end]):
                found += 1
    return found


def add_k(word, context, k, size):
    return (count(context, word) + k) / (count(context) + k * size) if count(context) + k else Fraction(1, size)


def interpolated(word, context, weights, size):
    """A sum over the orders at which the mixture may stop, not a recursion."""
    contexts = [context[len(context) - n :] for n in range(len(weights))]
    orders = [n for n in range(len(weights)) if count(contexts[n])]
    total, rest = Fraction(0), Fraction(1)
    for n in reversed(orders):
        total += rest * weights[n] * Fraction(count(contexts[n], word), count(contexts[n]))
        rest *= 1 - weights[n]
    return total + rest / size


def contexts(words, order):
    return [list(c) for n in range(order) for c in product(words, repeat=n)]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("k", [Fraction(0), Fraction(1, 8), Fraction(1)])
def test_add_k_is_what_fractions_say_in_every_context(order, k):
    model = NGram(order, k=float(k)).fit(TEXTS)
    assert model.vocab[0] == UNK and sorted(model.vocab[1:]) == ["a", "cat", "dog", "mat", "on", "sat", "the"]
    for context in contexts(model.vocab, order):
        used = (MISSING + context)[len(MISSING + context) - order + 1 :]
        exact = [add_k(word, used, k, len(model.vocab)) for word in model.vocab]
        assert sum(exact) == 1
        assert [model.prob(word, context) for word in model.vocab] == pytest.approx(exact, abs=1e-15)
        assert model.next_probs(context).tolist() == pytest.approx(exact, abs=1e-15)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_interpolation_is_what_fractions_say_in_every_context(order):
    weights = [Fraction(3, 4), Fraction(1, 2), Fraction(1, 8)][:order]
    model = InterpolatedNGram(order, weights=list(map(float, weights))).fit(TEXTS)
    for context in contexts(model.vocab, order):
        used = (MISSING + context)[len(MISSING + context) - order + 1 :]
        exact = [interpolated(word, used, weights, len(model.vocab)) for word in model.vocab]
        assert sum(exact) == 1
        assert [model.prob(word, context) for word in model.vocab] == pytest.approx(exact, abs=1e-15)
        assert model.next_probs(context).tolist() == pytest.approx(exact, abs=1e-15)


def test_hand_values():
    model = NGram(2, k=1.0).fit(TEXTS)
    assert model.prob("cat", ["the"]) == 3 / 12  # "the cat" twice of 4 times "the"; 8 words in the vocabulary
    assert model.prob("the") == 3 / 11  # two of three texts begin with it
    assert model.prob("zebra", ["the"]) == model.prob(UNK, ["the"]) == 1 / 12
    assert NGram(2, k=0.0).fit(TEXTS).prob("cat", "sat on the".split()) == 0.5
    assert model.prob("on", ["zebra"]) == 1 / 8  # a context that was never seen


def test_log_probs_follow_the_chain_rule():
    model = InterpolatedNGram(3).fit(TEXTS)
    text = "the mat sat on a zebra".split()
    alone = [math.log(model.prob(word, text[:i])) for i, word in enumerate(text)]
    assert model.log_probs(text) == alone and len(alone) == 6
    assert NGram(2, k=0.0).fit(TEXTS).log_probs(["the", "sat"])[1] == -math.inf
    # over all texts of three words, the probabilities of a text sum to 1
    total = sum(math.exp(sum(model.log_probs(words))) for words in product(model.vocab, repeat=3))
    assert total == pytest.approx(1, abs=1e-12)


def test_ids_vocabulary_and_rare_words():
    ids = torch.tensor([[3, 1, 3, 1], [3, 1, 2, 0]])
    model = NGram(2, k=0.5).fit(ids, vocab=range(5))
    assert model.vocab == [0, 1, 2, 3, 4] and model.prob(1, ids[0, :1]) == 3.5 / 5.5
    assert model.log_probs(ids[0]) == model.log_probs([3, 1, 3, 1])
    rare = NGram(1, k=0.0).fit(TEXTS, min_count=2)
    assert rare.vocab == [UNK, "the", "cat", "sat", "on"] and rare.prob("dog") == 3 / 14  # mat, dog, a
    assert rare.fit([["x"]]).vocab == [UNK, "x"]  # nothing stays of what was counted before


def test_samples_have_the_shares_of_the_distribution():
    model = InterpolatedNGram(2).fit(TEXTS)
    generator = torch.Generator().manual_seed(0)
    n = 4000
    drawn = [model.sample(1, context=["the"], generator=generator)[0] for _ in range(n)]
    for word, p in zip(model.vocab, model.next_probs(["the"]).tolist(), strict=True):
        assert abs(drawn.count(word) / n - p) < 4 * math.sqrt(p * (1 - p) / n)
    again = [model.sample(9, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert again[0] == again[1] and len(again[0]) == 9


def test_weights_reach_the_best_held_out_likelihood():
    held_out = ["the cat sat on the dog".split(), "a dog on the zebra".split()]
    model = InterpolatedNGram(2).fit(TEXTS)

    def loss(weights):
        model.weights = weights
        return perplexity([p for text in held_out for p in model.log_probs(text)])

    steps = [loss([0.5, 0.5])]
    for _ in range(60):
        model.fit_weights(held_out, n_steps=1)
        steps.append(loss(model.weights))
    assert all(after <= before + 1e-12 for before, after in zip(steps, steps[1:], strict=False))
    found = model.weights
    grid = {(a / 50, b / 50): loss([a / 50, b / 50]) for a in range(51) for b in range(51)}
    best = min(grid, key=grid.get)
    assert steps[-1] <= grid[best] + 1e-6
    assert found == pytest.approx(best, abs=0.02) and 0 < min(found) and max(found) < 1
    assert InterpolatedNGram(2).fit(TEXTS).fit_weights(TEXTS, n_steps=200).weights[1] > 0.99  # why it is held out


def test_perplexity_and_bits_per_byte():
    assert perplexity([math.log(1 / 8)] * 5) == pytest.approx(8)
    assert perplexity(torch.tensor([[0.5, 0.125]], dtype=torch.float64).log()) == pytest.approx(4)
    assert perplexity([-1.0, -math.inf]) == bits_per_byte([-1.0, -math.inf], 3) == math.inf
    assert bits_per_byte([math.log(1 / 8)] * 5, 10) == pytest.approx(1.5)


def test_on_real_text_interpolation_beats_one_order_and_add_k():
    texts = [document.text.lower().split() for document in load("news")]
    train, tune, test = texts[:240], texts[240:260], texts[260:]

    def score(model):
        return perplexity([p for text in test for p in model.log_probs(text)])

    uniform = len(NGram(1).fit(train, min_count=2).vocab)
    unigram, bigram = (score(NGram(n, k=0.1).fit(train, min_count=2)) for n in (1, 2))
    mixed = score(InterpolatedNGram(3).fit(train, min_count=2).fit_weights(tune))
    assert mixed < 0.6 * unigram < 0.6 * bigram < 0.6 * uniform
