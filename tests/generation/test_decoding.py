import math

import pytest
import torch
from torch import nn

from lmbook.generation import generate
from lmbook.transformer import GPT, GPTConfig

PROMPT = torch.tensor([[3, 1, 4, 1, 5]])


@pytest.fixture
def model():
    sizes = {"vocab_size": 50, "max_len": 40, "d_model": 16, "n_layers": 2, "n_heads": 4}
    model = GPT(GPTConfig(**sizes, positions="rotary", tie_embeddings=False)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.5, generator=generator)
    return model.eval()


class Fixed(nn.Module):
    """Gives the same logits after every token."""

    def __init__(self, logits):
        super().__init__()
        self.blocks, self.logits, self.read = [None], logits, []

    def forward(self, ids, cache):
        self.read.append(ids.tolist())
        return self.logits.expand(1, ids.shape[1], -1)


def greedy(model, n_tokens):
    """Recompute everything for each token."""
    ids = PROMPT
    for _ in range(n_tokens):
        ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
    return ids[0, PROMPT.shape[1] :].tolist()


def test_greedy_is_the_argmax_of_a_full_recomputation(model):
    tokens = list(generate(model, PROMPT, 30))
    assert tokens == greedy(model, 30) and len(set(tokens)) > 5


def test_each_token_is_read_once(model):
    read = []
    model.register_forward_pre_hook(lambda module, args: read.append(args[0].tolist()))
    tokens = list(generate(model, PROMPT, 4))
    assert read == [PROMPT.tolist()] + [[[token]] for token in tokens[:3]]


def test_tokens_come_one_at_a_time():
    model = Fixed(torch.tensor([0.0, 2.0, 1.0]))
    tokens = generate(model, PROMPT, 10)
    assert next(tokens) == 1 and len(model.read) == 1
    assert next(tokens) == 1 and len(model.read) == 2


def test_stops_before_a_stop_id(model):
    tokens = greedy(model, 30)
    stop = tokens[4]
    assert list(generate(model, PROMPT, 30, stop_ids=(stop,))) == tokens[: tokens.index(stop)]
    assert list(generate(model, PROMPT, 30, stop_ids={stop, tokens[0]})) == []


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_have_the_shares_of_the_softmax(temperature):
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, -math.inf])
    n, generator = 1200, torch.Generator().manual_seed(0)
    tokens = torch.tensor(list(generate(Fixed(logits), PROMPT, n, temperature=temperature, generator=generator)))
    expected = (logits / temperature).softmax(-1)[:4] * n
    counts = tokens.bincount(minlength=5)
    assert counts[4] == 0
    chi_squared = ((counts[:4] - expected) ** 2 / expected).sum().item()
    assert chi_squared < 16.3  # three degrees of freedom: 999 in 1000 generators


def test_the_generator_decides(model):
    def run(seed):
        return list(generate(model, PROMPT, 20, temperature=1.0, generator=torch.Generator().manual_seed(seed)))

    before = torch.get_rng_state()
    assert run(0) == run(0) != run(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_little_temperature_is_greedy_and_no_gradient_is_kept(model):
    assert list(generate(model, PROMPT, 30, temperature=1e-6)) == greedy(model, 30)
    grads = []
    model.register_forward_hook(lambda module, args, output: grads.append(output.requires_grad))
    list(generate(model, PROMPT, 3))
    assert grads == [False] * 3 and torch.is_grad_enabled()


def test_the_prompt_stays_as_it_was(model):
    ids = PROMPT.clone()
    list(generate(model, ids, 5))
    assert torch.equal(ids, PROMPT)


def test_stops_with_an_error_where_the_model_ends(model):
    tokens = generate(model, PROMPT, 100)
    taken = []
    with pytest.raises(ValueError, match=r"max_len=40 tokens, got 41"):
        for token in tokens:
            taken.append(token)
    assert len(taken) == 36  # the last one is predicted from 40 tokens
