"""Losses of word vectors against sums done one by one, and gensim's noise distribution."""

import math
from collections import Counter

import pytest
import torch

from lmbook.text import (
    GloVe,
    SkipGram,
    cooccurrences,
    glove_loss,
    negative_sampling_loss,
    noise_distribution,
    skip_gram_pairs,
)


def test_pairs_are_those_of_two_loops():
    ids = [3, 1, 4, 1, 5, 9, 2]
    for window in (1, 2, 5, 50):
        expected = Counter((ids[i], ids[j]) for i in range(7) for j in range(7) if i != j and abs(i - j) <= window)
        centres, contexts = skip_gram_pairs(torch.tensor(ids), window)
        assert Counter(zip(centres.tolist(), contexts.tolist(), strict=True)) == expected


def test_noise_is_that_of_gensim():
    from gensim.models import Word2Vec

    text = ("a " * 81 + "b " * 16 + "c " * 4 + "d").split()
    model = Word2Vec([text], min_count=1, vector_size=2, epochs=1, workers=1, seed=0)
    counts = torch.tensor([model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key])
    assert counts.tolist() == [81, 16, 4, 1]
    reference = torch.tensor(model.cum_table.tolist(), dtype=torch.float64) / (2**31 - 1)
    torch.testing.assert_close(noise_distribution(counts).cumsum(0), reference, atol=1e-8, rtol=0)
    torch.testing.assert_close(noise_distribution(torch.tensor([16, 0, 81])), torch.tensor([8, 0, 27]).double() / 35)
    assert noise_distribution(torch.tensor([5, 0]), power=0.0).tolist() == [1, 0]


def test_negative_sampling_by_hand():
    zero = torch.zeros(1, 3)
    assert negative_sampling_loss(zero, zero, torch.zeros(1, 5, 3)).item() == pytest.approx(6 * math.log(2))
    generator = torch.Generator().manual_seed(0)
    centres, contexts = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    negatives = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    total = 0.0
    for b in range(4):
        dot = sum(float(centres[b, d] * contexts[b, d]) for d in range(3))
        total += math.log(1 / (1 + math.exp(-dot)))
        for n in range(5):
            dot = sum(float(centres[b, d] * negatives[b, n, d]) for d in range(3))
            total += math.log(1 / (1 + math.exp(dot)))
    assert negative_sampling_loss(centres, contexts, negatives).item() == pytest.approx(-total / 4, abs=1e-12)


def test_its_gradient_is_the_step_of_word2vec():
    """word2vec.c moves an output vector by (label - sigmoid) times the input vector, and the reverse."""
    generator = torch.Generator().manual_seed(1)
    centre, context = torch.randn(2, 1, 3, generator=generator, dtype=torch.float64)
    negatives = torch.randn(1, 2, 3, generator=generator, dtype=torch.float64)
    for vectors in (centre, context, negatives):
        vectors.requires_grad_()
    negative_sampling_loss(centre, context, negatives).backward()
    outputs = torch.cat([context.detach(), negatives[0].detach()])
    g = torch.tensor([1.0, 0, 0]) - 1 / (1 + (-outputs @ centre.detach()[0]).exp())
    torch.testing.assert_close(-centre.grad[0], g @ outputs)
    torch.testing.assert_close(-torch.cat([context.grad, negatives.grad[0]]), g[:, None] * centre.detach())


def test_cooccurrences_are_those_of_two_loops():
    ids = [0, 1, 2, 1, 0, 0, 3]
    for window in (1, 3, 20):
        expected = torch.zeros(5, 5, dtype=torch.float64)
        for i, a in enumerate(ids):
            for j, b in enumerate(ids):
                if 0 < abs(i - j) <= window:
                    expected[a, b] += 1 / abs(i - j)
        torch.testing.assert_close(cooccurrences(torch.tensor(ids), 5, window=window), expected, rtol=1e-15, atol=0)


def test_cooccurrences_are_exact_in_float64():
    assert cooccurrences(torch.arange(4), 4, window=3)[0, 3].item() == 1 / 3
    n = 2**24 + 2  # one word, repeated: 2**24 + 1 pairs of neighbours, each counted from both sides
    assert cooccurrences(torch.zeros(n, dtype=torch.long), 1, window=1).item() == 2 * (2**24 + 1)


def test_glove_by_hand():
    words, contexts, b, c, counts = (
        torch.tensor(values, dtype=torch.float64)
        for values in ([[1, 2], [0.5, -1]], [[3, -1], [2, 2]], [0.1, 0.2], [0.3, -0.4], [16, 400])
    )
    # weights: (16 / 81) ** 0.75 = 8 / 27, and 1 above x_max
    expected = 8 / 27 * (1 + 0.4 - math.log(16)) ** 2 + (-1 - 0.2 - math.log(400)) ** 2
    assert glove_loss(words, contexts, b, c, counts, x_max=81.0).item() == pytest.approx(expected, abs=1e-12)


def test_vectors_that_explain_the_counts_have_no_loss():
    vectors = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zeros = torch.zeros(6, dtype=torch.float64)
    counts = (vectors[0] * vectors[1]).sum(-1).exp()
    assert glove_loss(*vectors, zeros, zeros, counts).item() < 1e-20


def test_skip_gram_starts_with_a_coin_for_every_pair():
    model, pair = SkipGram(40, 16), torch.tensor([3])
    assert 0.9 * 0.5 / 16 < model.words.weight.abs().max() <= 0.5 / 16 and not model.contexts.weight.any()
    assert model.loss(pair, pair, torch.tensor([[1, 2]])).item() == pytest.approx(3 * math.log(2))


def test_skip_gram_ends_at_shifted_mutual_information():
    """Levy and Goldberg 2014: where the vectors are wide enough, scores become PMI - log(negatives)."""
    near = torch.tensor([[6.0, 2, 1], [2, 1, 3], [1, 3, 5]], dtype=torch.float64)  # how often pairs occur
    rows, noise = near.sum(1), near.sum(0) / near.sum()
    torch.manual_seed(0)
    model = SkipGram(3, 3).double()
    i, j = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T
    # the expected loss with 2 negatives: each pair as often as it occurs, and each word with all words as drawn
    far = 2 * (rows[:, None] * noise).flatten()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        scores = model(i, j)
        value = -(near.flatten() * scores.sigmoid().log() + far * (-scores).sigmoid().log()).sum()
        value.backward()
        return value

    optimizer.step(closure)
    expected = (near * near.sum() / (rows[:, None] * near.sum(0))).log() - math.log(2)
    torch.testing.assert_close(model(i, j).view(3, 3), expected, atol=1e-4, rtol=0)


def test_loss_of_skip_gram_is_the_cross_entropy_of_its_scores():
    torch.manual_seed(0)
    model = SkipGram(7, 4).double()
    torch.nn.init.normal_(model.contexts.weight)
    centres, contexts, negatives = torch.tensor([1, 2]), torch.tensor([0, 6]), torch.tensor([[3, 3, 2], [5, 4, 1]])
    scores = torch.stack([model(centres, other) for other in (contexts, *negatives.T)])
    labels = torch.tensor([[1.0], [0], [0], [0]]).double().expand(4, 2)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels, reduction="sum") / 2
    torch.testing.assert_close(model.loss(centres, contexts, negatives), expected)


def test_glove_finds_the_vectors_that_made_the_counts():
    """Counts made of words of 2 numbers: trained with as many, all of them are explained; with 1 they cannot be."""
    torch.manual_seed(0)
    source = GloVe(9, 2).double()
    for table in source.parameters():
        torch.nn.init.normal_(table)
    words, contexts = torch.cartesian_prod(torch.arange(9), torch.arange(9)).T
    counts = source(words, contexts).exp().detach()
    assert source.loss(words, contexts, counts).item() < 1e-20
    least = {}
    for width in (1, 2):
        model = GloVe(9, width).double()
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2000, line_search_fn="strong_wolfe")

        def closure(model=model, optimizer=optimizer):
            optimizer.zero_grad()
            value = model.loss(words, contexts, counts, x_max=1e-9)
            value.backward()
            return value

        optimizer.step(closure)
        least[width] = closure().item()
        # with weights of 1 the biases take the means of rows and columns, and the SVD says what the vectors leave
        centred = counts.log().view(9, 9)
        centred = centred - centred.mean(0) - centred.mean(1, keepdim=True) + centred.mean()
        assert least[width] == pytest.approx(torch.linalg.svdvals(centred)[width:].square().sum().item() / 81, abs=1e-6)
    assert least[1] > 0.01 > 1e-5 > least[2]


def test_loss_of_glove_is_the_mean_over_the_pairs():
    torch.manual_seed(0)
    model = GloVe(5, 3).double()
    for table in model.parameters():
        torch.nn.init.normal_(table)
    words, contexts, counts = torch.tensor([0, 4]), torch.tensor([1, 1]), torch.tensor([16.0, 400]).double()
    errors = (model(words, contexts) - counts.log()).tolist()
    expected = (8 / 27 * errors[0] ** 2 + errors[1] ** 2) / 2
    assert model.loss(words, contexts, counts, x_max=81.0).item() == pytest.approx(expected, abs=1e-12)
