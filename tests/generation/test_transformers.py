"""Whole texts against `transformers`: a tiny random GPT-2 whose weights are loaded from its own files."""

import pytest
import torch

from lmbook.generation import beam_search, generate, generate_batch
from lmbook.interop import load_gpt2

PROMPT = torch.tensor([[3, 1, 4, 1, 5]])
PROMPTS = [[3, 1, 4, 1, 5], [9], [2, 6, 5]]


@pytest.fixture(scope="module", params=range(2))
def both(request, tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    sizes = {"vocab_size": 31, "n_positions": 40, "n_embd": 24, "n_layer": 2, "n_head": 4}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    generator = torch.Generator().manual_seed(request.param)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            norm = "ln_" in name and name.endswith("weight")
            parameter.normal_(1.0 if norm else 0.0, 0.2, generator=generator)
    folder = tmp_path_factory.mktemp("gpt2")
    theirs.save_pretrained(folder)
    return load_gpt2(folder), theirs


def run(theirs, ids=PROMPT, **options):
    options = {"pad_token_id": 30, "eos_token_id": None, "max_new_tokens": 20} | options
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # transformers draws from the global generator
        return theirs.generate(ids, attention_mask=options.pop("mask", torch.ones_like(ids)), **options)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy(both, penalty):
    ours, theirs = both
    expected = run(theirs, do_sample=False, repetition_penalty=penalty)[0, 5:].tolist()
    assert list(generate(ours, PROMPT, 20, repetition_penalty=penalty)) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 5},
        {"top_p": 0.7},
        {"min_p": 0.1},
        {"temperature": 1.5, "top_k": 12, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2},
    ],
)
def test_samples_token_for_token_from_the_same_seed(both, options):
    ours, theirs = both
    expected = run(theirs, do_sample=True, **{"top_k": 0} | options)[0, 5:].tolist()
    options = {"temperature": 1.0} | options
    assert list(generate(ours, PROMPT, 20, **options, generator=torch.Generator().manual_seed(0))) == expected


def test_a_batch_with_padding(both):
    ours, theirs = both
    ids = torch.tensor([[30] * (5 - len(prompt)) + prompt for prompt in PROMPTS])
    mask = torch.tensor([[0] * (5 - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS])
    expected = run(theirs, ids, mask=mask, do_sample=False)[:, 5:].tolist()
    assert generate_batch(ours, PROMPTS, 20) == expected


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 1.7])
@pytest.mark.parametrize("n_beams", [2, 4])
def test_beams(both, n_beams, length_penalty):
    """early_stopping="never" is theirs that is exact; without a stop id there is nothing to stop for."""
    ours, theirs = both
    lengths = set()
    for eos in (None, 7, 20):
        out = run(
            theirs, do_sample=False, num_beams=n_beams, num_return_sequences=n_beams, length_penalty=length_penalty,
            eos_token_id=eos, early_stopping="never", max_new_tokens=12, output_scores=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        expected = []
        for row in out.sequences[:, 5:].tolist():
            expected.append(row[: row.index(eos)] if eos in row else row[:12])
        stop_ids = () if eos is None else (eos,)
        found = beam_search(ours, PROMPT, 12, n_beams, length_penalty=length_penalty, stop_ids=stop_ids)
        assert [hypothesis.tokens for hypothesis in found] == expected
        scores = torch.tensor([hypothesis.score for hypothesis in found])
        torch.testing.assert_close(scores, out.sequences_scores, rtol=0, atol=2e-5)
        lengths |= set(map(len, expected))
    assert 12 in lengths
