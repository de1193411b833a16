import math

import pytest
import torch
from torch import nn

from lmbook.generation import beam_search, generate, generate_batch, speculative
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


def test_what_would_be_too_long_is_refused_before_anything_is_read(model):
    assert len(list(generate(model, PROMPT, 36))) == 36  # the last one is predicted from 40 tokens
    read = []
    model.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    for call in (
        lambda: next(generate(model, PROMPT, 37)),
        lambda: generate_batch(model, [[1], PROMPT[0]], 37),
        lambda: beam_search(model, PROMPT, 37, 2),
        lambda: next(speculative(model, model, PROMPT, 37, 2)),
        lambda: next(generate(model, PROMPT.expand(1, 5).repeat(1, 9), 1)),
    ):
        with pytest.raises(ValueError, match=r"max_len=40 tokens, got 4[15] to read"):
            call()
    assert not read


@pytest.mark.parametrize("positions", ["learned", "rotary", "alibi", "t5"])
def test_a_cropped_context_is_the_last_max_len_tokens(gpt, positions):
    """As nanoGPT's generate does: the whole window is read anew for each token."""
    model = gpt(positions=positions, max_len=12)
    prompts = [PROMPT, PROMPT[:, :2], PROMPT.repeat(1, 4)]
    expected = []
    for prompt in prompts:
        ids = prompt
        with torch.no_grad():
            for _ in range(20):
                ids = torch.cat([ids, model(ids[:, -12:])[:, -1:].argmax(-1)], dim=1)
        expected.append(ids[0, prompt.shape[1] :].tolist())
        assert list(generate(model, prompt, 20, crop=True)) == expected[-1]
    assert len(set(expected[0])) > 4
    assert generate_batch(model, [prompt[0] for prompt in prompts], 20, crop=True) == expected


CALLS = [
    lambda model, ids: list(generate(model, ids, 4)),
    lambda model, ids: list(generate(model, ids, 9, crop=True)),
    lambda model, ids: generate_batch(model, [ids[0], ids[0, :2]], 4),
    lambda model, ids: beam_search(model, ids, 4, 3),
    lambda model, ids: list(speculative(model, model, ids, 4, 2)),
]


@pytest.mark.parametrize("call", CALLS, ids=["generate", "cropped", "batch", "beams", "speculative"])
def test_a_model_in_training_writes_without_dropout_and_is_left_as_it_was(gpt, call):
    model = gpt(dropout=0.5, max_len=9).eval()
    expected = call(model, PROMPT)
    model.train()
    model.blocks[0].eval()  # a frozen block
    model.blocks[1].feed_forward.requires_grad_(False)
    model(PROMPT).sum().backward()
    hook = model.register_forward_hook(lambda module, args, output: None)

    def state():
        modules = [(module.training, len(module._forward_hooks)) for module in model.modules()]
        parameters = [(p.detach().clone(), p.grad, p.requires_grad) for p in model.parameters()]
        return modules, parameters, torch.get_rng_state()

    def unchanged(before):
        modules, parameters, random = state()
        assert modules == before[0] and torch.equal(random, before[2]) and torch.is_grad_enabled()
        for (value, grad, wanted), (old, old_grad, old_wanted) in zip(parameters, before[1], strict=True):
            assert torch.equal(value, old) and grad is old_grad and wanted == old_wanted

    before = state()
    assert call(model, PROMPT) == expected
    unchanged(before)
    model.norm.weight.data.fill_(torch.nan)
    before = state()[0]
    with pytest.raises(ValueError, match="logits must be numbers"):
        call(model, PROMPT)
    assert state()[0] == before
    hook.remove()


def test_between_two_tokens_the_model_is_in_its_own_mode(gpt):
    model = gpt(dropout=0.5).train()
    tokens = generate(model, PROMPT, 3)
    next(tokens)
    assert all(module.training for module in model.modules())
