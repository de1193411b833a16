"""Small models and texts for training in a fraction of a second."""

import pytest
import torch

from lmbook.pretraining import Batches
from lmbook.transformer import GPT, GPTConfig

VOCAB = 23


@pytest.fixture
def tiny():
    """A GPT with 1,600 parameters; its weights depend on the seed alone."""

    def make(seed=0, **options):
        sizes = {"vocab_size": VOCAB, "max_len": 16, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 16}
        torch.manual_seed(seed)
        return GPT(GPTConfig(**(sizes | options)))

    return make


@pytest.fixture
def text():
    """The same words over and over, one in five of them wrong."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randint(VOCAB, (3000,), generator=generator)
    return noise.where(torch.rand(3000, generator=generator) < 0.2, torch.arange(3000) % VOCAB)


@pytest.fixture
def batches(text):
    return lambda **options: Batches(text, **({"batch_size": 4, "length": 9} | options))


@pytest.fixture
def same():
    """Whether two modules have the same weights, to the bit."""

    def compare(one, other):
        pairs = zip(one.parameters(), other.parameters(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    return compare
