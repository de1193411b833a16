import dataclasses
import re
from functools import partial

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lmbook.transformer import (
    GPT,
    GPTConfig,
    gpt2_large,
    gpt2_medium,
    gpt2_small,
    gpt2_xl,
    llama2_7b,
    llama3_8b,
    smollm2_135m,
)

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
POSITIONS = ("none", "learned", "sinusoidal", "rotary", "alibi", "t5")


def tiny(**options):
    sizes = {"vocab_size": 50, "max_len": 32, "d_model": 16, "n_layers": 3, "n_heads": 4, "d_ff": 24}
    return GPT(GPTConfig(**(sizes | options)))


def some_ids(batch=2, length=9, vocab_size=50):
    return torch.randint(vocab_size, (batch, length), generator=torch.Generator().manual_seed(0))


def rename(state, rules):
    """Our names for the tensors of another implementation."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


LLAMA = [
    (r"^model\.embed_tokens", "embed"), (r"^lm_head", "unembed"), (r"^model\.norm", "norm"),
    (r"^model\.layers", "blocks"), (r"input_layernorm", "self_attention.norm"),
    (r"post_attention_layernorm", "feed_forward.norm"), (r"self_attn\.([qkvo])_proj", r"self_attention.sublayer.w_\1"),
    (r"mlp\.gate_proj", "feed_forward.sublayer.w_gate"), (r"mlp\.up_proj", "feed_forward.sublayer.w_in"),
    (r"mlp\.down_proj", "feed_forward.sublayer.w_out"),
]  # fmt: skip
GPT2 = [
    (r"^transformer\.wte", "embed"), (r"^transformer\.wpe", "positions"), (r"^transformer\.ln_f", "norm"),
    (r"^lm_head", "unembed"), (r"^transformer\.h", "blocks"), (r"ln_1", "self_attention.norm"),
    (r"ln_2", "feed_forward.norm"), (r"attn\.c_proj", "self_attention.sublayer.w_o"),
    (r"mlp\.c_fc", "feed_forward.sublayer.w_in"), (r"mlp\.c_proj", "feed_forward.sublayer.w_out"),
]  # fmt: skip


def from_gpt2(reference):
    state = {}
    for name, tensor in rename(reference.state_dict(), GPT2).items():
        if tensor.ndim == 2 and ("w_" in name or "c_attn" in name):
            tensor = tensor.T  # GPT-2 keeps (in, out)
        if "c_attn" in name:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                state[name.replace("attn.c_attn", f"self_attention.sublayer.w_{part}")] = piece
        else:
            state[name] = tensor
    return state


def gpt2_pair(loud):
    sizes = {"vocab_size": 50, "n_positions": 32, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_inner": 24}
    config = GPT2Config(**sizes, layer_norm_epsilon=0.01, attn_implementation="sdpa")
    reference = loud(GPT2LMHeadModel(config))
    ours = tiny(norm_eps=0.01).double().eval()
    ours.load_state_dict(from_gpt2(reference))
    return ours, reference


def llama_pair(loud, exact, *, n_kv_heads, tied):
    reference = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50, max_position_embeddings=32, hidden_size=16, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=n_kv_heads, intermediate_size=24, rms_norm_eps=0.01, tie_word_embeddings=tied,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0}, attn_implementation="sdpa",
        )
    )  # fmt: skip
    reference = exact(loud(reference))
    ours = tiny(
        n_kv_heads=n_kv_heads, positions="rotary", norm="rms", feed_forward="swiglu", bias=False, tie_embeddings=tied,
        norm_eps=0.01, rope_base=500.0,
    )  # fmt: skip
    ours = ours.double().eval()
    ours.load_state_dict(rename(reference.state_dict(), LLAMA))
    return ours, reference


def compare(ours, reference, layers, trace):
    ids = some_ids()
    logits, states = trace([*ours.blocks, ours.norm], lambda: ours(ids))
    expected, expected_states = trace(layers, lambda: reference(ids).logits)
    for state, expected_state in zip(states, expected_states, strict=True):
        close(state, expected_state)
    close(logits, expected)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, :4] = False
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
    expected = reference(ids, attention_mask=mask.long(), position_ids=positions).logits
    close(ours(ids, mask=mask)[mask], expected[mask])


def test_gpt2_equals_transformers_layer_by_layer(loud, trace):
    ours, reference = gpt2_pair(loud)
    assert ours.unembed.weight is ours.embed.weight
    compare(ours, reference, [*reference.transformer.h, reference.transformer.ln_f], trace)


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("tied", [True, False])
def test_llama_equals_transformers_layer_by_layer(n_kv_heads, tied, loud, exact, trace):
    ours, reference = llama_pair(loud, exact, n_kv_heads=n_kv_heads, tied=tied)
    assert (ours.unembed.weight is ours.embed.weight) == tied
    compare(ours, reference, [*reference.model.layers, reference.model.norm], trace)


def test_llama_as_published_in_float32(loud):
    """The same without lifting transformers to float64."""
    ours, reference = llama_pair(loud, lambda model: model, n_kv_heads=2, tied=False)
    ids = some_ids()
    torch.testing.assert_close(ours.float()(ids), reference.float()(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("positions", POSITIONS)
def test_no_token_sees_a_later_one(positions, loud):
    model, ids = loud(tiny(positions=positions)), some_ids()
    expected = model(ids)
    for changed_at in (1, 5, 8):
        changed = ids.clone()
        changed[:, changed_at:] = (changed[:, changed_at:] + 1) % 50
        out = model(changed)
        assert torch.equal(out[:, :changed_at], expected[:, :changed_at])
        assert ((out[:, changed_at:] - expected[:, changed_at:]).abs().amax(-1) > 1e-3).all()


@pytest.mark.parametrize("positions", POSITIONS)
def test_order_counts_where_there_are_positions(positions, loud):
    """One causal layer without positions takes its past as a set; each kind of position makes it a sequence."""
    model, ids = loud(tiny(positions=positions, n_layers=1)), some_ids()
    shuffled = torch.cat([ids[:, [3, 0, 2, 1]], ids[:, 4:]], dim=1)
    moved = (model(ids)[:, -1] - model(shuffled)[:, -1]).abs().max()
    assert moved < 1e-10 if positions == "none" else moved > 1e-3


@pytest.mark.parametrize("positions", ["sinusoidal", "alibi", "t5"])
def test_other_positions_by_their_formula(positions, loud):
    model, ids = loud(tiny(positions=positions)), some_ids()
    x, bias, distance = model.embed(ids), None, torch.arange(9) - torch.arange(9)[:, None]
    if positions == "sinusoidal":
        angles = torch.arange(9)[:, None] / 10000.0 ** (torch.arange(0, 16, 2).double() / 16)
        x = x + torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    elif positions == "alibi":
        bias = -torch.tensor([1 / 4, 1 / 16, 1 / 64, 1 / 256])[:, None, None].double() * distance.abs()
    else:
        bias = model.bias.weight.T[:, (-distance).clamp(min=0)]  # near distances have a bucket each
    for block in model.blocks:
        x = block(x, causal=True, bias=bias)
    close(model(ids), model.norm(x) @ model.embed.weight.T)


@pytest.mark.parametrize("positions", POSITIONS)
def test_padding_changes_nothing(positions, loud):
    model, ids = loud(tiny(positions=positions)), some_ids(1, 6)
    expected, filler = model(ids), torch.full((1, 4), 7)
    mask = torch.tensor([[False] * 4 + [True] * 6])
    close(model(torch.cat([filler, ids], dim=1), mask=mask)[:, 4:], expected)
    close(model(torch.cat([ids, filler], dim=1), mask=mask.flip(1))[:, :6], expected)
    close(model(ids, mask=torch.ones_like(ids).bool()), expected)


@pytest.mark.parametrize("feed_forward", ["relu", "gelu", "gelu_tanh", "swiglu"])
@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("bias", [True, False])
def test_choices_are_built_as_asked(feed_forward, norm, bias):
    model = tiny(feed_forward=feed_forward, norm=norm, bias=bias)
    inner = model.blocks[0].feed_forward.sublayer
    assert hasattr(inner, "w_gate") == (feed_forward == "swiglu")
    assert type(model.norm).__name__ == type(model.blocks[0].self_attention.norm).__name__
    assert ("norm.bias" in model.state_dict()) == (norm == "layer" and bias)
    assert any("w_" in name and name.endswith("bias") for name in model.state_dict()) == bias
    assert model(some_ids()).shape == (2, 9, 50)


def llama_config(config):
    return LlamaConfig(
        vocab_size=config.vocab_size, hidden_size=config.d_model, num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads, num_key_value_heads=config.n_kv_heads, intermediate_size=config.d_ff,
        tie_word_embeddings=config.tie_embeddings,
    )  # fmt: skip


PUBLISHED = {
    gpt2_small: 124_439_808, gpt2_medium: 354_823_168, gpt2_large: 774_030_080, gpt2_xl: 1_557_611_200,
    llama2_7b: 6_738_415_616, llama3_8b: 8_030_261_248, smollm2_135m: 134_515_008,
}  # fmt: skip


@pytest.mark.parametrize("preset", PUBLISHED, ids=lambda preset: preset.__name__)
def test_published_sizes(preset, count):
    config = preset()
    assert count(lambda: GPT(config)) == PUBLISHED[preset]
    if preset in (llama2_7b, llama3_8b, smollm2_135m):
        assert count(lambda: LlamaForCausalLM(llama_config(config))) == PUBLISHED[preset]
        assert config.norm_eps == 1e-5
    else:
        sizes = {"n_embd": config.d_model, "n_layer": config.n_layers, "n_head": config.n_heads}
        reference = GPT2Config(**sizes)
        assert count(lambda: GPT2LMHeadModel(reference)) == PUBLISHED[preset]
        assert (config.norm_eps, config.max_len) == (reference.layer_norm_epsilon, reference.n_positions)


def test_published_rope_bases():
    assert [preset().rope_base for preset in (llama2_7b, llama3_8b, smollm2_135m)] == [10000.0, 500000.0, 100000.0]


def test_forward_on_meta_and_hidden():
    with torch.device("meta"):
        model, ids = GPT(smollm2_135m()), torch.zeros(2, 100, dtype=torch.long)
    assert model(ids).shape == (2, 100, 49152) and model.hidden(ids).shape == (2, 100, 576)
    small = tiny().eval()
    assert torch.equal(small.unembed(small.hidden(some_ids())), small(some_ids()))


def test_a_config_is_frozen_and_filled_in():
    config = GPTConfig(vocab_size=50, max_len=32, d_model=16, n_layers=3, n_heads=4)
    assert (config.n_kv_heads, config.d_ff) == (4, 64)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.d_model = 32


def test_reset_parameters_follows_the_generator_alone():
    model, other = tiny(n_layers=8), tiny(n_layers=8)
    before = torch.get_rng_state()
    model.reset_parameters(torch.Generator().manual_seed(5))
    other.reset_parameters(torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    other.reset_parameters(torch.Generator().manual_seed(6))
    assert not torch.equal(model.embed.weight, other.embed.weight)


@pytest.mark.parametrize("feed_forward", ["gelu", "swiglu"])
def test_initial_std_is_smaller_where_a_matrix_writes_to_the_stream(feed_forward):
    model = tiny(vocab_size=2000, d_model=128, d_ff=256, n_layers=8, feed_forward=feed_forward)
    model.reset_parameters(torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name != "positions.weight":
            std = 0.02 / 4 if name.endswith(("w_o.weight", "w_out.weight")) else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=0.03), name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name


def test_dropout_only_while_training():
    torch.manual_seed(0)
    model, ids = tiny(dropout=0.5), some_ids()
    assert not torch.allclose(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_names_of_the_weights_are_stable_and_survive_saving(loud, tmp_path):
    model = loud(tiny(n_layers=1))
    block = ["self_attention.sublayer." + w for w in ("w_q", "w_k", "w_v", "w_o")]
    block += ["self_attention.norm", "feed_forward.sublayer.w_in", "feed_forward.sublayer.w_out", "feed_forward.norm"]
    names = {"embed.weight", "unembed.weight", "positions.weight", "norm.weight", "norm.bias"}
    names |= {f"blocks.0.{part}.{kind}" for part in block for kind in ("weight", "bias")}
    assert set(model.state_dict()) == names
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = tiny(n_layers=1).double()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(other(some_ids()), model(some_ids()))
    assert other.unembed.weight is other.embed.weight
    for positions in ("alibi", "rotary", "sinusoidal"):
        assert not any(word in name for name in tiny(positions=positions).state_dict() for word in ("slopes", "rotary"))


@pytest.mark.parametrize("options", [{}, {"positions": "rotary", "feed_forward": "swiglu", "norm": "rms"}])
def test_compiled_equals_eager(options, loud, compiled):
    model, ids = loud(tiny(n_layers=1, n_kv_heads=2, **options)), some_ids()
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, :4] = False
    close(compiled(model, "aot_eager")(ids, mask=mask), model(ids, mask=mask))


@pytest.mark.parametrize("positions", POSITIONS)
def test_bfloat16_autocast(positions, device, trace):
    model, ids = tiny(positions=positions).to(device).eval(), some_ids().to(device)
    expected = model(ids)

    def run():
        with torch.autocast(device.type, torch.bfloat16):
            return model(ids)

    logits, states = trace([*model.blocks, model.norm], run)
    assert logits.dtype == torch.bfloat16 and all(state.dtype == torch.float32 for state in states)
    torch.testing.assert_close(logits.float(), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("positions", POSITIONS)
def test_on_the_device(positions, device, loud):
    model, ids = loud(tiny(positions=positions)), some_ids()
    expected = model(ids)
    out = model.to(device)(ids.to(device))
    assert out.device.type == device.type
    close(out.cpu(), expected)
