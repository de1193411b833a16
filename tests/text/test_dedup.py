"""Near-duplicates of real texts against the exact similarity of all pairs."""

import math
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from lmbook.text import (
    candidate_pairs,
    exact_unique,
    jaccard,
    minhash,
    near_duplicates,
    near_unique,
    shingles,
)
from lmbook.text.corpora import load


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def bbc():
    """All 2,225 articles with their headlines, copies and all."""
    return [f"{document.title}\n{document.text}" for document in load("bbc", unique=False)]


@pytest.fixture(scope="module")
def similarities(bbc):
    """The exact Jaccard similarity of all 2.5 million pairs, from a product of sparse matrices."""
    numbers, rows, columns = {}, [], []
    for row, text in enumerate(bbc):
        text = re.sub(r"\s+", " ", text.strip())
        found = {numbers.setdefault(shingle, len(numbers)) for shingle in re.findall("(?=(.{9}))", text)}
        rows += [row] * len(found)
        columns += found
    sets = csr_array((np.ones(len(rows), dtype=np.int32), (rows, columns)))
    common = (sets @ sets.T).toarray()
    sizes = common.diagonal()
    return np.triu(common / (sizes[:, None] + sizes - common), k=1)


def test_shingles_and_jaccard_by_hand():
    assert shingles("abcab", width=2) == {"ab", "bc", "ca"}
    assert shingles(" a \n\t b ", width=3) == {"a b"} == shingles("a b", width=9)
    assert shingles("") == {""}
    assert jaccard({1, 2, 3}, {2, 3, 4, 5}) == 0.4
    assert jaccard(set(), set()) == 1 and jaccard({1}, set()) == 0


def test_the_estimate_is_unbiased_over_the_hash_functions():
    words = np.random.default_rng(0).integers(97, 123, size=(3, 900), dtype=np.uint8)
    common, a, b = (bytes(word).decode() for word in words)
    exact = jaccard(shingles(common + a), shingles(common + b))
    errors = []
    for seed in range(400):
        one, two = minhash([common + a, common + b], n_hashes=64, generator=seeded(seed))
        errors.append((one == two).mean() - exact)
    std = math.sqrt(exact * (1 - exact) / 64)
    assert 0.3 < exact < 0.4 and abs(np.mean(errors)) < 3 * std / math.sqrt(400)
    assert np.std(errors) == pytest.approx(std, rel=0.1)


def test_errors_on_real_texts_have_the_size_that_theory_says(bbc, similarities):
    """In units of the theoretical deviation, errors have mean 0 and deviation 1, for similar and for other pairs."""
    signatures = minhash(bbc, generator=seeded())
    for low, high, least, tolerance in ((0.01, 0.05, 100_000, 0.02), (0.05, 0.2, 500, 0.15), (0.2, 1.0, 120, 0.3)):
        i, j = np.nonzero((similarities > low) & (similarities < high))
        exact = similarities[i, j]
        errors = (signatures[i] == signatures[j]).mean(axis=1) - exact
        errors /= np.sqrt(exact * (1 - exact) / signatures.shape[1])
        assert len(i) > least
        assert abs(errors.mean()) < tolerance and abs(errors.std() - 1) < tolerance


def test_a_band_finds_what_the_formula_says():
    rng = np.random.default_rng(0)
    n, similarity, bands, rows = 4000, 0.6, 8, 4
    one = rng.integers(0, 1 << 31, size=(n, bands * rows)).astype(np.uint32)
    two = np.where(rng.random(one.shape) < similarity, one, one + 1).astype(np.uint32)
    found = candidate_pairs(np.concatenate([one, two]), bands=bands)
    expected = 1 - (1 - similarity**rows) ** bands
    assert all(j == i + n for i, j in found)
    assert abs(len(found) / n - expected) < 4 * math.sqrt(expected * (1 - expected) / n)
    # the same by looking at all pairs of a few
    few = rng.integers(0, 2, size=(30, 6)).astype(np.uint32)
    exact = {(i, j) for i, j in combinations(range(30), 2) if (few[i] == few[j]).reshape(2, 3).all(1).any()}
    assert candidate_pairs(few, bands=2) == exact and 10 < len(exact) < 435


def test_pairs_of_real_texts_are_those_of_brute_force(bbc, similarities):
    i, j = np.nonzero(similarities >= 0.7)
    found = near_duplicates(bbc, threshold=0.7, generator=seeded())
    assert found == list(zip(i.tolist(), j.tolist(), similarities[i, j].tolist(), strict=True))
    exact = [pair for pair in found if pair[2] == 1]
    assert len(found) == 165 and len(exact) == 100 and min(found, key=lambda pair: pair[2])[2] < 0.75


def test_exact_copies_are_those_that_counting_finds(bbc):
    kept = exact_unique(bbc)
    assert [bbc[i] for i in kept] == list(Counter(bbc))  # a Counter keeps the order of first sight
    assert len(bbc) - len(kept) == 98
    assert exact_unique(["b", "a", "b", "c", "a"]) == [0, 1, 3]


def test_what_is_kept_has_no_near_duplicates_and_what_is_dropped_has_one(bbc, similarities):
    kept = near_unique(bbc, generator=seeded())
    close = (similarities + similarities.T) >= 0.8
    assert not close[np.ix_(kept, kept)].any()
    for dropped in set(range(len(bbc))) - set(kept):
        assert close[dropped, [i for i in kept if i < dropped]].any()
    articles = {text.partition("\n")[2] for text in bbc}  # 35 articles stand there under two headlines
    assert len(exact_unique(bbc)) - len(articles) == 35
    assert len(kept) == 2068 < len(articles)


def test_one_of_each_family_stays_and_it_is_the_first():
    base = "it was a bright cold day in april, and the clocks were striking thirteen, all of them at once"
    family = [base, base + "!", base.replace("cold", "warm"), "something quite different from all of that", base]
    assert near_unique(family, threshold=0.6, generator=seeded()) == [0, 3]
    assert near_unique(family, threshold=1.0, generator=seeded()) == [0, 1, 2, 3]
    assert near_unique([], generator=seeded()) == []
    assert near_duplicates([base, base + " "], threshold=1.0, generator=seeded()) == [(0, 1, 1.0)]


def test_the_seed_decides():
    one, again, other = (minhash(["some text of some length"], generator=seeded(seed)) for seed in (3, 3, 4))
    assert (one == again).all() and (one != other).mean() > 0.9 and one.dtype == np.uint32
