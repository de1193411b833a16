"""Small models with loud weights, and a model whose exact distribution is a table."""

import pytest
import torch

from lmbook.transformer import GPT, GPTConfig

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "alibi", "t5")


class Table:
    """A model without a cache: logits[a, b] are those of the next token after the tokens a, b."""

    def __init__(self, logits):
        self.logits, self.blocks, self.calls = logits, [None], 0

    def __call__(self, ids, mask=None, cache=None):
        self.calls += 1
        before = torch.cat([ids.new_zeros(len(ids), 1), ids[:, :-1]], dim=1)
        return self.logits[before, ids]


@pytest.fixture
def table():
    """Call with a size of the vocabulary and a seed."""

    def make(vocab_size, seed=0, loud=1.0):
        generator = torch.Generator().manual_seed(seed)
        return Table(torch.randn(vocab_size, vocab_size, vocab_size, dtype=torch.float64, generator=generator) * loud)

    return make


@pytest.fixture
def gpt():
    """Call with sizes: a GPT in float64 whose weights are loud enough that its texts vary."""

    def make(seed=0, std=0.5, **sizes):
        small = {"vocab_size": 50, "max_len": 40, "d_model": 16, "n_layers": 2, "n_heads": 4}
        model = GPT(GPTConfig(**small | {"positions": "rotary", "tie_embeddings": False} | sizes)).double().eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(std=std, generator=generator)
        return model

    return make


@pytest.fixture(params=POSITIONS)
def positions(request):
    return request.param


@pytest.fixture
def fits():
    """Whether counts agree with expected counts, by chi-squared at 1 in 1000; what has probability 0 never occurs."""

    def check(counts, expected):
        counts, expected = torch.as_tensor(counts).double().flatten(), torch.as_tensor(expected).double().flatten()
        assert counts.sum().item() == pytest.approx(expected.sum().item())
        assert not counts[expected == 0].any()
        rare = expected < 5  # these together as one, else chi-squared says little
        counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
        counts, expected = counts[expected > 0], expected[expected > 0]
        assert len(expected) > 1 and expected.min() >= 2
        freedom = len(expected) - 1
        limit = freedom * (1 - 2 / (9 * freedom) + 3.0902 * (2 / (9 * freedom)) ** 0.5) ** 3  # Wilson and Hilferty
        statistic = ((counts - expected) ** 2 / expected).sum().item()
        assert statistic < limit, f"chi-squared {statistic:.1f} is above {limit:.1f}"

    return check
