"""Models that are made on the meta device, where they need no memory, and come to life in two ways."""

import copy
import pickle

import pytest
import torch
from torch import nn

from lmbook.transformer import BERT, GPT, BertConfig, EncoderDecoder, EncoderDecoderConfig, GPTConfig

SIZES = {"vocab_size": 11, "d_model": 16, "n_layers": 2, "n_heads": 4, "max_len": 8}
MODELS = {
    **{f"gpt-{name}": (lambda name=name: GPT(GPTConfig(**SIZES, positions=name)))
       for name in ("none", "learned", "sinusoidal", "rotary", "alibi", "t5")},
    "llama": lambda: GPT(GPTConfig(**SIZES, positions="rotary", norm="rms", feed_forward="swiglu", bias=False)),
    "bert": lambda: BERT(BertConfig(**SIZES, d_ff=20)),
    "t5": lambda: EncoderDecoder(EncoderDecoderConfig(**SIZES, d_ff=20, d_head=4)),
    "vaswani": lambda: EncoderDecoder(EncoderDecoderConfig(**SIZES, d_ff=20, d_head=4, style="vaswani")),
}  # fmt: skip
IDS = torch.arange(6)[None]


def run(model):
    return model(IDS, IDS) if isinstance(model, EncoderDecoder) else model(IDS)


def embeddings(model):
    return (model.encoder if isinstance(model, BERT) else model).embed


@pytest.mark.parametrize("name", MODELS)
def test_assigned_weights(name):
    source = MODELS[name]()
    with torch.device("meta"):
        model = MODELS[name]()
    model.load_state_dict(source.state_dict(), assign=True)
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert model.unembed.weight is embeddings(model).weight
    assert torch.equal(run(model.eval()), run(source.eval()))


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith(("gpt", "llama"))])
@pytest.mark.parametrize("rubbish", [float("nan"), 1e30])
def test_empty_memory_and_reset_parameters(name, rubbish):
    with torch.device("meta"):
        model = MODELS[name]()
    model = model.to_empty(device="cpu")
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data.fill_(rubbish)
    model.reset_parameters(torch.Generator().manual_seed(3))
    expected = MODELS[name]()
    expected.reset_parameters(torch.Generator().manual_seed(3))
    assert model.unembed.weight is model.embed.weight
    pairs = zip([*model.named_parameters(), *model.named_buffers()],
                [*expected.named_parameters(), *expected.named_buffers()], strict=True)  # fmt: skip
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize("name", MODELS)
def test_what_ties_survives_copies_and_changes_of_type(name):
    model = MODELS[name]()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.deepcopy(model).double()):
        assert other.unembed.weight is embeddings(other).weight is not embeddings(model).weight
        other.load_state_dict(model.state_dict(), assign=True)
        assert other.unembed.weight is embeddings(other).weight


@pytest.mark.parametrize("name", MODELS)
def test_two_matrices_for_one_are_refused(name):
    model = MODELS[name]()
    state = model.state_dict()
    state["unembed.weight"] = state["unembed.weight"] + 1
    with pytest.raises(ValueError, match=r"unembed.weight must equal (encoder\.)?embed.weight, since the model ties"):
        model.load_state_dict(state, assign=True)


def test_inside_another_model():
    source = nn.Sequential(MODELS["gpt-alibi"]())
    with torch.device("meta"):
        model = nn.Sequential(MODELS["gpt-alibi"]())
    model.load_state_dict(source.state_dict(), assign=True)
    assert model[0].unembed.weight is model[0].embed.weight
    assert torch.equal(model(IDS), source(IDS))
