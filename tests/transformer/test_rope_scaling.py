"""Llama 3.1's scaling of rotary positions: against `transformers`, and against its definition pair by pair."""

import math
from functools import partial

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lmbook.transformer import GPT, GPTConfig, RopeScaling, Rotary, rotate

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
SETTINGS = [
    {"factor": 8.0, "original_max_len": 8192},  # Llama 3.1
    {"factor": 32.0, "original_max_len": 8192},  # Llama 3.2
    {"factor": 4.0, "original_max_len": 64, "slow": 0.5, "fast": 3.0},
    {"factor": 0.5, "original_max_len": 1000},
]


def by_definition(frequency, *, factor, original_max_len, slow=1.0, fast=4.0):
    """`apply_scaling` of Llama 3.1's code, with its wavelengths, for one pair."""
    wavelength = 2 * math.pi / frequency
    if wavelength < original_max_len / fast:
        return frequency
    if wavelength > original_max_len / slow:
        return frequency / factor
    smooth = (original_max_len / wavelength - slow) / (fast - slow)
    return (1 - smooth) * frequency / factor + smooth * frequency


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("base, width", [(500000.0, 64), (10000.0, 16)])
def test_frequencies(options, base, width):
    frequencies = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    ours = RopeScaling(**options)(frequencies)
    close(ours, torch.tensor([by_definition(f, **options) for f in frequencies.tolist()], dtype=torch.float64))
    config = LlamaConfig(
        hidden_size=width, num_attention_heads=1, head_dim=width,
        rope_parameters={
            "rope_type": "llama3", "rope_theta": base, "factor": options["factor"],
            "low_freq_factor": options.get("slow", 1.0), "high_freq_factor": options.get("fast", 4.0),
            "original_max_position_embeddings": options["original_max_len"],
        },
    )  # fmt: skip
    theirs, factor = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    assert factor == 1.0
    torch.testing.assert_close(ours, theirs.double(), rtol=2e-6, atol=0)
    if options["original_max_len"] > 64:
        assert ours[0] == frequencies[0] and ours[-1] == frequencies[-1] / options["factor"]
        assert ((ours != frequencies) & (ours != frequencies / options["factor"])).any()  # and some between


def test_rotate_uses_them(randn):
    x, scaling, positions = randn(2, 3, 5, 16), RopeScaling(factor=4.0, original_max_len=32), torch.arange(7, 12)
    frequencies = scaling(10000.0 ** (-torch.arange(0, 16, 2).double() / 16))
    turned = torch.complex(x[..., :8], x[..., 8:]) * torch.polar(
        torch.ones(5, 8).double(), positions.double()[:, None] * frequencies
    )
    expected = torch.cat([turned.real, turned.imag], dim=-1)
    close(rotate(x, positions, scaling=scaling), expected)
    close(Rotary(16, scaling=scaling)(x, 7), expected)
    assert (rotate(x, positions) - expected).abs().max() > 0.1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"factor": 0.0}, "factor must be above 0, got 0.0"),
        ({"factor": 8.0, "original_max_len": 0}, "original_max_len must be at least 1, got 0"),
        ({"factor": 8.0, "slow": 4.0}, "fast must be above slow=4.0, got 4.0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        RopeScaling(**options)


def test_only_for_rotary_positions():
    sizes = {"vocab_size": 9, "max_len": 8, "d_model": 8, "n_layers": 1, "n_heads": 2}
    with pytest.raises(ValueError, match="rope_scaling is for positions='rotary', got 'learned'"):
        GPTConfig(**sizes, rope_scaling=RopeScaling(factor=8.0))


def test_biases_of_queries_keys_and_values_alone():
    sizes = {"vocab_size": 9, "max_len": 8, "d_model": 8, "n_layers": 1, "n_heads": 2, "norm": "rms"}
    model = GPT(GPTConfig(**sizes, bias=False, qkv_bias=True, feed_forward="swiglu"))
    biases = [name.split(".")[-2] for name, _ in model.named_parameters() if name.endswith("bias")]
    assert biases == ["w_q", "w_k", "w_v"]
