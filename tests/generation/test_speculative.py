"""Speculative decoding: the target's distribution, to the last share, and fewer passes of the target."""

import itertools

import pytest
import torch

from lmbook.generation import generate, speculative

PROMPT = torch.tensor([[1, 2]])


def exact(model, n_tokens, vocab_size, temperature=1.0, top_k=None):
    """Probability of every continuation, from full passes and a softmax written out."""
    texts = torch.tensor(list(itertools.product(range(vocab_size), repeat=n_tokens)))
    with torch.no_grad():
        logits = model(torch.cat([PROMPT.expand(len(texts), -1), texts], dim=1))[:, PROMPT.shape[1] - 1 : -1]
    weights = (logits / temperature).exp()
    if top_k is not None:
        weights = weights * (logits >= logits.sort(descending=True).values[..., top_k - 1 : top_k])
    shares = weights / weights.sum(-1, keepdim=True)
    return shares.gather(-1, texts[..., None])[..., 0].prod(-1)


def counts(vocab_size, n_tokens, n, call):
    generator, found = torch.Generator().manual_seed(0), torch.zeros(vocab_size**n_tokens)
    for _ in range(n):
        number = 0
        for token in call(generator):
            number = number * vocab_size + token
        found[number] += 1
    return found


@pytest.mark.parametrize("n_draft", [1, 4])
def test_continuations_have_the_shares_of_the_target(table, fits, n_draft):
    target, draft, n = table(3, seed=4, loud=0.7), table(3, seed=1), 1500
    expected, others = exact(target, 3, 3), exact(draft, 3, 3)
    found = counts(3, 3, n, lambda g: speculative(target, draft, PROMPT, 3, n_draft, temperature=1.0, generator=g))
    fits(found, expected * n)
    with pytest.raises(AssertionError):
        fits(found, others * n)


def test_temperature_and_filters_shape_the_target(table, fits):
    target, draft, n = table(4, seed=2, loud=0.7), table(4, seed=3), 1000
    options = {"temperature": 0.8, "top_k": 2}
    found = counts(4, 3, n, lambda g: speculative(target, draft, PROMPT, 3, 2, **options, generator=g))
    fits(found, exact(target, 3, 4, **options) * n)


def test_models_with_a_cache_have_the_shares_of_the_target(gpt, fits):
    sizes = {"vocab_size": 3, "d_model": 8, "n_heads": 2, "positions": "learned"}
    target, draft, n = gpt(std=0.35, **sizes), gpt(seed=1, std=0.35, n_layers=1, **sizes), 400
    found = counts(3, 2, n, lambda g: speculative(target, draft, PROMPT, 2, 2, temperature=1.0, generator=g))
    fits(found, exact(target, 2, 3) * n)


@pytest.mark.parametrize("n_draft", [1, 5])
def test_greedy_is_exactly_that_of_the_target(gpt, positions, n_draft):
    target, draft = gpt(positions=positions), gpt(seed=1, n_layers=1)
    prompt = torch.tensor([[3, 1, 4, 1, 5]])
    expected = list(generate(target, prompt, 20))
    assert list(speculative(target, draft, prompt, 20, n_draft)) == expected
    assert list(speculative(target, near(target), prompt, 20, n_draft)) == expected
    stop = expected[7]
    stopped = list(speculative(target, near(target), prompt, 20, n_draft, stop_ids=(stop,)))
    assert stopped == expected[: expected.index(stop)]


def near(model):
    """A draft that guesses like the model most of the time, and has a cache of its own."""

    class Near:
        blocks = model.blocks

        def __call__(self, ids, cache=None):
            logits = model(ids, cache=cache)
            return logits.roll(1, dims=-1) if cache.length % 4 == 0 else logits

    return Near()


def passes(model, lengths):
    return model.register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))


@pytest.mark.parametrize("n_draft, n_tokens, expected", [(4, 20, 4), (4, 21, 5), (1, 20, 10), (30, 20, 1), (3, 1, 1)])
def test_a_perfect_draft_gives_n_draft_plus_one_tokens_for_each_pass(gpt, n_draft, n_tokens, expected):
    target, draft, lengths = gpt(), gpt(), []
    passes(target, lengths)
    for temperature in (0.0, 1.0):
        lengths.clear()
        generator = torch.Generator().manual_seed(0)
        options = {"temperature": temperature, "generator": generator}
        assert len(list(speculative(target, draft, PROMPT, n_tokens, n_draft, **options))) == n_tokens
        assert len(lengths) == expected


def test_a_hopeless_draft_costs_as_many_passes_as_tokens(gpt):
    class Hopeless:
        def __init__(self, model):
            self.model, self.blocks = model, model.blocks

        def __call__(self, ids, cache=None):
            return -self.model(ids, cache=cache)

    target, lengths = gpt(), []
    expected = list(generate(target, PROMPT, 10))
    draft = Hopeless(gpt())
    passes(target, lengths)
    assert list(speculative(target, draft, PROMPT, 10, 3)) == expected
    assert len(lengths) == 10


def test_no_token_is_read_twice_that_was_kept(gpt):
    target, draft = gpt(), gpt(seed=1, n_layers=1)
    read, drafted = [], []
    passes(target, read)
    passes(draft, drafted)
    assert len(list(speculative(target, draft, PROMPT, 30, 3))) == 30
    assert read[0] == 2 + 3 and max(read[1:]) == 4  # the last token, and three guesses
    assert drafted[0] == 2 and max(drafted[1:]) <= 2


def test_tokens_that_share_a_pass_come_before_the_next_one(gpt):
    target, lengths = gpt(), []
    tokens = speculative(target, gpt(), PROMPT, 20, 4)
    passes(target, lengths)
    for _ in range(5):
        next(tokens)
    assert len(lengths) == 1


def test_reaches_the_last_position_of_the_model(gpt):
    target, draft = gpt(max_len=12, positions="learned"), gpt(max_len=12)
    expected = list(generate(target, PROMPT, 11))
    assert list(speculative(target, draft, PROMPT, 11, 4)) == expected
    with pytest.raises(ValueError, match="max_len=12 tokens, got 13"):
        list(speculative(target, draft, PROMPT, 12, 4))


def test_the_generator_decides_and_the_prompt_stays(table):
    target, draft, ids = table(5), table(5, seed=1), PROMPT.clone()

    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return list(speculative(target, draft, ids, 30, 3, temperature=1.0, generator=generator))

    state = torch.get_rng_state()
    assert run(0) == run(0) != run(1)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(ids, PROMPT)
