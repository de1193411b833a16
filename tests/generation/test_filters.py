"""Each filter against its definition in plain Python, and against the one of `transformers`."""

import math

import pytest
import torch

from lmbook.generation import distribution, min_p, repetition_penalty, top_k, top_p

PROBABILITIES = torch.tensor([0.05, 0.4, 0.1, 0.25, 0.2], dtype=torch.float64)


@pytest.fixture
def logits():
    return torch.randn(200, 37, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3


def kept(filtered, logits=None):
    logits = PROBABILITIES.log() if logits is None else logits
    rows = filtered > -torch.inf
    assert torch.equal(filtered[rows], logits[rows])
    return rows.nonzero().flatten().tolist() if filtered.ndim == 1 else rows


@pytest.mark.parametrize("k, tokens", [(1, [1]), (2, [1, 3]), (4, [1, 2, 3, 4]), (5, [0, 1, 2, 3, 4]), (99, range(5))])
def test_top_k_by_hand(k, tokens):
    assert kept(top_k(PROBABILITIES.log(), k)) == list(tokens)


@pytest.mark.parametrize(
    "p, tokens",
    [
        (0.01, [1]),
        (0.39, [1]),
        (0.41, [1, 3]),
        (0.64, [1, 3]),
        (0.66, [1, 3, 4]),
        (0.94, [1, 2, 3, 4]),
        (1.0, range(5)),
    ],
)
def test_top_p_by_hand(p, tokens):
    assert kept(top_p(PROBABILITIES.log() + 7, p), PROBABILITIES.log() + 7) == list(tokens)


@pytest.mark.parametrize(
    "p, tokens", [(1.0, [1]), (0.6, [1, 3]), (0.45, [1, 3, 4]), (0.2, [1, 2, 3, 4]), (0.1, range(5))]
)
def test_min_p_by_hand(p, tokens):
    assert kept(min_p(PROBABILITIES.log() + 7, p), PROBABILITIES.log() + 7) == list(tokens)


def test_ties_with_the_last_of_k_stay_and_the_nucleus_takes_the_first():
    logits = torch.tensor([1.0, 2.0, 1.0, 0.0])
    assert kept(top_k(logits, 2), logits) == [0, 1, 2]
    assert kept(top_p(torch.zeros(4), 0.5), torch.zeros(4)) == [0, 1]


def test_by_definition(logits):
    for k in (1, 5, 36):
        assert (kept(top_k(logits, k), logits).sum(-1) == k).all()
    for p in (0.1, 0.5, 0.9, 0.999):
        nucleus, low = kept(top_p(logits, p), logits), kept(min_p(logits, p), logits)
        for row, probabilities in enumerate(logits.softmax(-1).tolist()):
            total, expected = 0.0, set()
            for token in sorted(range(37), key=lambda token: -probabilities[token]):
                if total < p:
                    expected.add(token)
                total += probabilities[token]
            assert set(nucleus[row].nonzero().flatten().tolist()) == expected
            enough = [token for token in range(37) if probabilities[token] >= p * max(probabilities)]
            assert low[row].nonzero().flatten().tolist() == enough


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equal_to_transformers(logits, dtype):
    theirs = pytest.importorskip("transformers.generation.logits_process")
    logits = logits.to(dtype)
    for k in (1, 5, 36, 37, 50):
        assert torch.equal(top_k(logits, k), theirs.TopKLogitsWarper(k)(None, logits))
    for p in (0.05, 0.5, 0.9, 0.999):
        assert torch.equal(top_p(logits, p), theirs.TopPLogitsWarper(p)(None, logits))
        assert torch.equal(min_p(logits, p), theirs.MinPLogitsWarper(p)(None, logits))
    ids = torch.randint(37, (200, 12), generator=torch.Generator().manual_seed(1))
    for penalty in (0.5, 1.0, 1.2, 3.0):
        expected = theirs.RepetitionPenaltyLogitsProcessor(penalty)(ids, logits)
        assert torch.equal(repetition_penalty(logits, ids, penalty), expected)
        assert torch.equal(repetition_penalty(logits, ids.int(), penalty), expected)


def test_a_whole_pipeline_equals_that_of_transformers(logits):
    theirs = pytest.importorskip("transformers.generation.logits_process")
    for temperature in (0.5, 1.0, 1.7):
        expected = theirs.TemperatureLogitsWarper(temperature)(None, logits)
        for warper in (theirs.TopKLogitsWarper(9), theirs.TopPLogitsWarper(0.8), theirs.MinPLogitsWarper(0.15)):
            expected = warper(None, expected)
        ours = distribution(logits, temperature=temperature, top_k=9, top_p=0.8, min_p=0.15)
        torch.testing.assert_close(ours, expected.softmax(-1), rtol=0, atol=1e-14)
    assert len((expected > -torch.inf).sum(-1).unique()) > 3  # the filters did something, and not the same everywhere


def test_repetition_penalty_by_hand():
    logits = torch.tensor([[2.0, -2.0, 1.0, 0.0, -1.0], [2.0, -2.0, 1.0, 0.0, -1.0]])
    penalised = repetition_penalty(logits, torch.tensor([[0, 1, 1, 3], [2, 4, 4, 4]]), 2.0)
    assert penalised.tolist() == [[1.0, -4.0, 1.0, 0.0, -1.0], [2.0, -2.0, 0.5, 0.0, -2.0]]
    assert torch.equal(repetition_penalty(logits, torch.zeros(2, 0, dtype=torch.long), 2.0), logits)


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5)])
def test_any_number_of_axes_and_no_change_of_the_argument(shape):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    before, ids = logits.clone(), torch.zeros(*shape[:-1], 4, dtype=torch.long)
    for call in (
        top_k,
        lambda x, k: top_p(x, 0.5),
        lambda x, k: min_p(x, 0.5),
        lambda x, k: repetition_penalty(x, ids, 2.0),
    ):
        rows = torch.stack([call(row, 2) for row in logits.reshape(-1, 5)]) if call is top_k else None
        assert call(logits, 2).shape == shape and torch.equal(logits, before)
        assert rows is None or torch.equal(rows.reshape(shape), call(logits, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_dtype_follows_and_sums_are_not_taken_in_half_precision(dtype):
    logits = torch.randn(5000, generator=torch.Generator().manual_seed(3)).to(dtype)
    nucleus = top_p(logits, 0.9)
    assert nucleus.dtype == top_k(logits, 3).dtype == min_p(logits, 0.5).dtype == dtype
    exact = top_p(logits.double(), 0.9).isfinite()
    assert 500 < exact.sum() < 4500 and (nucleus.isfinite() != exact).sum() <= 1


def test_a_token_that_was_ruled_out_stays_out():
    logits = torch.tensor([0.0, -math.inf, 1.0, -math.inf])
    for filtered in (
        top_k(logits, 3),
        top_p(logits, 1.0),
        min_p(logits, 1e-9),
        repetition_penalty(logits, torch.tensor([1, 3]), 2.0),
    ):
        assert kept(filtered, logits) == [0, 2]
