"""Shares of drawn tokens against the analytic distribution."""

import pytest
import torch

from lmbook.generation import distribution, sample

PROBABILITIES = torch.tensor([0.05, 0.4, 0.1, 0.25, 0.2, 0.0], dtype=torch.float64)
LOGITS = PROBABILITIES.log() - 3


@pytest.mark.parametrize(
    "options, weights",
    [
        ({}, [5, 40, 10, 25, 20, 0]),
        ({"temperature": 0.5}, [25, 1600, 100, 625, 400, 0]),  # squares
        ({"temperature": 2.0}, [5**0.5, 40**0.5, 10**0.5, 5, 20**0.5, 0]),
        ({"top_k": 3}, [0, 40, 0, 25, 20, 0]),
        ({"top_p": 0.8}, [0, 40, 0, 25, 20, 0]),
        ({"min_p": 0.25}, [0, 40, 10 + 1e-9, 25, 20, 0]),
        ({"top_k": 4, "top_p": 0.6}, [0, 40, 0, 25, 0, 0]),
        ({"top_p": 0.95, "min_p": 0.3}, [0, 40, 0, 25, 20, 0]),
        ({"temperature": 0.5, "top_p": 0.8}, [0, 1600, 0, 625, 0, 0]),  # at temperature 1 three tokens would stay
        ({"temperature": 2.0, "min_p": 0.6}, [0, 40**0.5, 0, 5, 20**0.5, 0]),  # at temperature 1, two
        ({"top_k": 2, "top_p": 0.5}, [0, 40, 0, 0, 0, 0]),  # of the two that top_k leaves, the first has 0.62
    ],
)
def test_shares(options, weights, fits):
    if options == {"min_p": 0.25}:
        options = {"min_p": 0.2499}  # 0.1 / 0.4 itself is a matter of rounding
    expected = torch.tensor(weights, dtype=torch.float64)
    expected /= expected.sum()
    torch.testing.assert_close(distribution(LOGITS, **options), expected, rtol=0, atol=1e-9)
    n, generator = 40000, torch.Generator().manual_seed(0)
    counts = sample(LOGITS.expand(n, 6), **options, generator=generator).bincount(minlength=6)
    if (expected > 0).sum() == 1:
        assert counts.tolist() == (expected * n).tolist()
    else:
        fits(counts, expected * n)


def test_temperature_zero_takes_the_likeliest():
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sample(logits, temperature=0.0), logits.argmax(-1))
    with pytest.raises(ValueError, match="top_p must be above 0"):
        distribution(logits, temperature=0.0, top_p=0.0)
    one_hot = distribution(logits, temperature=0.0, top_k=3)
    assert torch.equal(one_hot.argmax(-1), logits.argmax(-1)) and torch.equal(one_hot.sum(-1), torch.ones(50))


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e-6])
def test_little_temperature_does_not_overflow(temperature):
    logits = torch.tensor([50.0, 100.0, -200.0, 99.0])
    assert distribution(logits, temperature=temperature).tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", [(9,), (1, 9), (4, 9), (2, 3, 9)])
def test_one_token_for_each_row_from_the_given_generator_only(shape):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before, state = logits.clone(), torch.get_rng_state()

    def run(seed):
        return sample(logits, top_p=0.99, generator=torch.Generator().manual_seed(seed))

    assert run(0).shape == shape[:-1] and run(0).dtype == torch.int64 and torch.equal(run(0), run(0))
    assert any(not torch.equal(run(0), run(seed)) for seed in range(1, 20))
    assert torch.equal(logits, before) and torch.equal(torch.get_rng_state(), state)


def test_rows_are_drawn_apart(fits):
    logits = torch.tensor([[0.0, 1.0, 2.0], [2.0, 0.0, 0.0]], dtype=torch.float64)
    tokens = sample(logits.repeat(20000, 1, 1), generator=torch.Generator().manual_seed(0))
    pairs = (tokens[:, 0] * 3 + tokens[:, 1]).bincount(minlength=9)
    fits(pairs, 20000 * torch.outer(*logits.softmax(-1)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_promoted(dtype):
    logits = torch.randn(30, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = (logits.double() / 0.7).softmax(-1)
    torch.testing.assert_close(distribution(logits, temperature=0.7).double(), expected, rtol=0, atol=1e-6)
