"""Llama and Qwen2 from Hugging Face's files into our own GPT."""

from pathlib import Path

import torch

from lmbook.interop.configs import Config, read_config, sizes
from lmbook.interop.convert import fill
from lmbook.interop.files import read_tensors, weight_files, without
from lmbook.interop.layouts import BUFFERS, LLAMA_MODULES
from lmbook.transformer import GPT, GPTConfig, RopeScaling


def load_llama(folder: str | Path, *, dtype: torch.dtype | None = torch.float32, dropout: float = 0.0) -> GPT:
    """The Llama (1 to 3.2, or SmolLM2, or another model of type "llama") in a folder.

    All else as for ``load_gpt2``. Refused: biases, heads wider or narrower than d_model / n_heads, and scaled rotary
    positions other than those of Llama 3.1.

    Source: Touvron et al. 2023; Grattafiori et al. 2024; Hugging Face's files. Book: architectures.
    """
    config = read_config(Path(folder), "llama")
    config.require("attention_bias", False)
    config.require("mlp_bias", False)
    config.require("sliding_window", None)
    return _load(config, dtype=dtype, dropout=dropout, qkv_bias=False)


def load_qwen2(folder: str | Path, *, dtype: torch.dtype | None = torch.float32, dropout: float = 0.0) -> GPT:
    """The Qwen2 or Qwen2.5 in a folder: a Llama with biases on queries, keys and values. All else as for ``load_gpt2``.

    Refused: sliding windows.

    Source: Yang et al. 2024 (Qwen2), sec. 2.2; Hugging Face's files. Book: architectures.
    """
    config = read_config(Path(folder), "qwen2")
    config.require("use_sliding_window", False)
    for unused in ("sliding_window", "max_window_layers"):  # they say how wide and where, if it were used
        config.get(unused, None)
    return _load(config, dtype=dtype, dropout=dropout, qkv_bias=True)


def _load(config: Config, *, dtype: torch.dtype | None, dropout: float, qkv_bias: bool) -> GPT:
    config.require("hidden_act", "silu", "swish")  # two names of one function
    for kind in config.get("layer_types", []):
        if kind != "full_attention":
            raise ValueError(f"{config.path}: layer_types may hold 'full_attention' only, got {kind!r}")
    d_model, n_heads = config["hidden_size"], config["num_attention_heads"]
    head_dim, rotary = config.get("head_dim", None), _rotary(config)
    ours = sizes(
        config, GPTConfig, vocab_size=config["vocab_size"], max_len=config["max_position_embeddings"], d_model=d_model,
        n_layers=config["num_hidden_layers"], n_heads=n_heads, n_kv_heads=config.get("num_key_value_heads", None),
        d_ff=config["intermediate_size"], positions="rotary", norm="rms", feed_forward="swiglu", bias=False,
        qkv_bias=qkv_bias, norm_eps=config["rms_norm_eps"],
        tie_embeddings=config.get("tie_word_embeddings", False), dropout=dropout, **rotary,
    )  # fmt: skip
    if head_dim not in (None, d_model // n_heads):
        raise ValueError(f"{config.path}: head_dim = {head_dim!r} is not supported, only {d_model // n_heads}")
    with torch.device("meta"):
        model = GPT(ours)
    folder = config.path.parent
    tensors = without(read_tensors(weight_files(folder)), "model.")
    fill(model, tensors, LLAMA_MODULES, source=str(folder), dtype=dtype, ignored=BUFFERS)
    return model.eval()


def _rotary(config: Config) -> dict[str, float | RopeScaling | None]:
    """Base and scaling of the rotary positions.

    They stand in rope_parameters since 2025; before, the base in rope_theta (10,000 at first) and the rest in
    rope_scaling. The kind of scaling is called rope_type, and was called type.
    """
    rope: dict = {}
    for place in ("rope_parameters", "rope_scaling"):
        values = config.get(place, {})
        if not isinstance(values, dict):
            raise ValueError(f"{config.path}: {place} must be an object, got {values!r}")
        for key, value in values.items():
            if rope.setdefault(key, value) != value:
                raise ValueError(f"{config.path}: rope_parameters and rope_scaling differ in {key}")
    nested = Config(Path(f"{config.path}: rope_parameters"), rope)
    kind = nested.get("rope_type", nested.get("type", "default"))
    nested.require("type", kind)
    if kind not in ("default", "llama3"):
        raise ValueError(f"{nested.path}: rope_type = {kind!r} is not supported, only 'default' or 'llama3'")
    base = nested.get("rope_theta", None)
    outer = config.get("rope_theta", 10000.0 if base is None else base)
    if base not in (None, outer):
        raise ValueError(f"{config.path}: rope_theta is {outer!r}, and {base!r} in rope_parameters")
    scaling = None
    if kind == "llama3":
        scaling = sizes(
            nested, RopeScaling, factor=nested["factor"], slow=nested["low_freq_factor"],
            fast=nested["high_freq_factor"], original_max_len=nested["original_max_position_embeddings"],
        )  # fmt: skip
    nested.refuse_the_rest()
    return {"rope_base": float(outer) if isinstance(outer, int) else outer, "rope_scaling": scaling}
