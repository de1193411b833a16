"""Beam search against all continuations of a tiny vocabulary, and against a search without a cache."""

import itertools

import pytest
import torch

from lmbook.generation import beam_search, generate
from lmbook.transformer import EncoderDecoder, EncoderDecoderConfig

PROMPT = torch.tensor([[2, 1, 3]])
STOP = 0


def every_continuation(model, n_tokens, vocab_size, length_penalty, stop_ids):
    """All of them, the best first, from full passes without a cache."""
    texts = torch.tensor(list(itertools.product(range(vocab_size), repeat=n_tokens)))
    ids = torch.cat([PROMPT.expand(len(texts), -1), texts], dim=1)
    with torch.no_grad():
        steps = model(ids)[:, PROMPT.shape[1] - 1 : -1].log_softmax(-1).gather(-1, texts[..., None])[..., 0]
    scores = {}
    for text, logs in zip(texts.tolist(), steps.tolist(), strict=True):
        end = next((i + 1 for i, token in enumerate(text) if token in stop_ids), n_tokens)
        tokens = tuple(token for token in text[:end] if token not in stop_ids)
        scores[tokens, end, text[end - 1]] = sum(logs[:end]) / end**length_penalty
    return sorted(((score, list(tokens)) for (tokens, _, _), score in scores.items()), reverse=True)


def plain_search(model, n_tokens, n_beams, length_penalty, stop_ids):
    """Beam search as one would write it first: whole sequences, no cache, never an early end."""
    beams, finished = [([], 0.0)], []
    for length in range(1, n_tokens + 1):
        found = []
        for tokens, total in beams:
            with torch.no_grad():
                logs = model(torch.cat([PROMPT, torch.tensor([tokens]).long()], dim=1))[0, -1].log_softmax(-1)
            found += [(tokens + [token], total + log) for token, log in enumerate(logs.tolist())]
        found.sort(key=lambda item: -item[1])
        ended = [item for item in found[:n_beams] if item[0][-1] in stop_ids]
        finished += [(total / length**length_penalty, tokens[:-1]) for tokens, total in ended]
        beams = [item for item in found if item[0][-1] not in stop_ids][:n_beams]
    finished += [(total / n_tokens**length_penalty, tokens) for tokens, total in beams]
    return sorted(finished, reverse=True)[:n_beams]


def agree(hypotheses, expected):
    assert [hypothesis.tokens for hypothesis in hypotheses] == [tokens for _, tokens in expected]
    scores = torch.tensor([hypothesis.score for hypothesis in hypotheses], dtype=torch.float64)
    torch.testing.assert_close(scores, torch.tensor([s for s, _ in expected], dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("stop_ids", [(), (STOP,), (STOP, 2)])
@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0, 2.0])
def test_with_beams_enough_it_is_exact(gpt, length_penalty, stop_ids):
    model = gpt(vocab_size=4, std=0.4)
    expected = every_continuation(model, 4, 4, length_penalty, stop_ids)
    hypotheses = beam_search(model, PROMPT, 4, 256, length_penalty=length_penalty, stop_ids=stop_ids)
    agree(hypotheses, expected)
    assert len(hypotheses) == {0: 256, 1: 121, 2: 46}[len(stop_ids)]


def test_exact_for_each_kind_of_position(gpt, positions):
    model = gpt(vocab_size=4, std=0.4, positions=positions)
    agree(beam_search(model, PROMPT, 4, 256, stop_ids=(STOP,)), every_continuation(model, 4, 4, 1.0, (STOP,)))


@pytest.mark.parametrize("n_beams", [2, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_equals_a_search_without_cache_for_each_kind_of_position(gpt, positions, n_beams, length_penalty):
    model = gpt(vocab_size=9, std=0.4, positions=positions)
    for stop_ids in ((), (STOP, 4)):
        expected = plain_search(model, 7, n_beams, length_penalty, stop_ids)
        agree(beam_search(model, PROMPT, 7, n_beams, length_penalty=length_penalty, stop_ids=stop_ids), expected)


def test_one_beam_is_greedy(gpt):
    model = gpt()
    (only,) = beam_search(model, PROMPT, 20, 1)
    assert only.tokens == list(generate(model, PROMPT, 20))


def test_the_likeliest_first_token_can_lead_astray(table):
    model = table(3)
    model.logits[1, 2] = torch.tensor([0.5, 0.4, 0.1]).log()
    model.logits[2, 0] = torch.tensor([0.4, 0.3, 0.3]).log()  # after the likeliest token, no likely one
    model.logits[2, 1] = torch.tensor([0.1, 0.9, 0.0]).log()
    ids = torch.tensor([[1, 2]])
    (greedy,) = beam_search(model, ids, 2, 1, length_penalty=0.0)
    best, second = beam_search(model, ids, 2, 2, length_penalty=0.0)
    assert greedy.tokens == second.tokens == [0, 0] and best.tokens == [1, 1]
    assert greedy.score == pytest.approx(torch.tensor(0.2).log().item())
    assert best.score == pytest.approx(torch.tensor(0.36).log().item())


def test_fewer_beams_than_needed_miss_the_best(table):
    """As the docstring says: for some model a narrow search is worse than the exact one, and never better."""
    missed = 0
    for seed in range(8):
        model = table(4, seed=seed)
        exact = every_continuation(model, 4, 4, 0.0, ())[0][0]
        narrow = beam_search(model, PROMPT, 4, 2, length_penalty=0.0)[0].score
        assert narrow <= exact + 1e-10
        missed += narrow < exact - 1e-6
    assert 0 < missed < 8


def test_normalisation_favours_longer_texts(table):
    model = table(3)
    model.logits[:] = torch.tensor([0.3, 0.6, 0.1]).log()  # 0 ends
    ids = torch.tensor([[1]])
    short = beam_search(model, ids, 4, 4, length_penalty=0.0, stop_ids=(0,))[0]
    long = beam_search(model, ids, 4, 4, length_penalty=1.0, stop_ids=(0,))[0]
    assert short.tokens == [] and short.score == pytest.approx(torch.tensor(0.3).log().item())
    assert long.tokens == [1, 1, 1, 1] and long.score == pytest.approx(torch.tensor(0.6).log().item())


def test_impossible_tokens_are_in_no_hypothesis(table):
    model = table(4)
    model.logits[..., 2] = -torch.inf
    hypotheses = beam_search(model, PROMPT[:, :1], 3, 99, stop_ids=(2,))
    assert len(hypotheses) == 27 and all(2 not in hypothesis.tokens for hypothesis in hypotheses)
    assert all(len(hypothesis.tokens) == 3 for hypothesis in hypotheses)
    model.logits[..., :2], model.logits[..., 2] = -torch.inf, 0.0  # only 3 goes on, only 2 ends
    found = beam_search(model, PROMPT[:, :1], 3, 2, stop_ids=(2,), length_penalty=0.0)
    assert len(found) == 2
    model.logits[..., 3] = -torch.inf
    assert beam_search(model, PROMPT[:, :1], 3, 2, stop_ids=(2,)) == [([], 0.0)]


def test_ends_as_soon_as_nothing_better_can_come(table):
    model = table(3)
    model.logits[:] = torch.tensor([0.98, 0.01, 0.01]).log()
    found = beam_search(model, PROMPT[:, :1] * 0, 1000, 1, stop_ids=(0,), length_penalty=0.0)
    assert model.calls == 1 and found[0].tokens == []


def test_the_prompt_stays_and_no_gradient_is_kept(gpt):
    model, ids, grads = gpt(), PROMPT.clone(), []
    model.register_forward_hook(lambda module, args, output: grads.append(output.requires_grad))
    beam_search(model, ids, 3, 2)
    assert torch.equal(ids, PROMPT) and grads == [False] * 3


def test_the_decoder_of_an_encoder_decoder():
    """Any callable with blocks is a model: here one that writes the target, given a source."""
    sizes = {"vocab_size": 4, "max_len": 8, "d_model": 8, "n_layers": 2, "n_heads": 2, "d_head": 4, "d_ff": 16}
    pair = EncoderDecoder(EncoderDecoderConfig(**sizes)).double().eval()
    memory = pair.encode(torch.tensor([[1, 2, 3, 3, 1]])).detach()

    class Writer:
        blocks = pair.decoder.blocks

        def __call__(self, ids, cache=None):
            return pair.decode(ids, memory.expand(len(ids), -1, -1), cache=cache)

    agree(beam_search(Writer(), PROMPT, 4, 256, stop_ids=(STOP,)), every_continuation(Writer(), 4, 4, 1.0, (STOP,)))
