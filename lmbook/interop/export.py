"""The way out: our own GPT and tokenizer as a folder that Hugging Face's `transformers` loads."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lmbook.interop.huggingface import CONV1D, GPT2_ACTIVATIONS
from lmbook.interop.layouts import GPT2_MODULES, LLAMA_MODULES
from lmbook.interop.tokenizer_json import tokenizer_json
from lmbook.pretraining.checkpoint import replace_folder
from lmbook.text import BPE
from lmbook.transformer import GPT, GPTConfig

_FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
_NEEDED = {  # by positions: what else a model must be to have a place in the files of GPT-2 or of Llama
    "learned": {
        "norm": ("layer",), "feed_forward": ("gelu_tanh", "gelu", "relu"), "bias": (True,), "qkv_bias": (True,),
    },
    "rotary": {"norm": ("rms",), "feed_forward": ("swiglu",), "bias": (False,), "qkv_bias": (False,)},
}  # fmt: skip


def save_pretrained(model: GPT, tokenizer: BPE | None, folder: str | Path, *, end: str | None = None) -> None:
    """Write a model and its tokenizer as a Hugging Face folder, whole or not at all.

    AutoModelForCausalLM and AutoTokenizer load it, with the logits and ids that it has here. The files are
    config.json, model.safetensors, tokenizer.json and tokenizer_config.json; they take the place of older ones.

    Args:
        model: of GPT-2's type (learned positions, LayerNorm, biases) or of Llama's (rotary positions, RMSNorm,
            SwiGLU, no biases; Qwen2's is left out, since AutoTokenizer cuts text in its own way there).
        tokenizer: None for a model without one.
        end: the special token that ends a text, at which `generate` there stops.

    Raises:
        ValueError: a model for which no family has a place, more tokens than embeddings, an end that is no
            special token, a pattern by which `tokenizers` cuts otherwise, or a folder that holds other files.

    Book: architectures.
    """
    if not isinstance(model, GPT):
        raise TypeError(f"model must be a GPT, got {type(model).__name__}")
    folder, config = Path(folder), model.config
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - _FILES):
        raise ValueError(f"folder must be new, or hold nothing but {', '.join(sorted(_FILES))}: {folder}")
    for field, allowed in _NEEDED.get(config.positions, {"positions": tuple(_NEEDED)}).items():
        if (value := getattr(config, field)) not in allowed:
            raise ValueError(f"model cannot be written with {field}={value!r}, only with {allowed}")
    if (config.positions == "learned") and config.n_kv_heads != config.n_heads:
        raise ValueError(f"model cannot be written with n_kv_heads={config.n_kv_heads}, GPT-2 has n_heads")
    texts = {}
    if tokenizer is not None:
        if tokenizer.vocab_size > config.vocab_size:
            raise ValueError(
                f"tokenizer has ids up to {tokenizer.vocab_size - 1}, the model only {config.vocab_size} embeddings"
            )
        texts["tokenizer.json"] = tokenizer_json(tokenizer)
        texts["tokenizer_config.json"] = json.dumps(
            {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config.max_len,
             "clean_up_tokenization_spaces": False, "eos_token": end}
        )  # fmt: skip
    special = tokenizer.special_tokens if tokenizer is not None else {}
    if end is not None and end not in special:
        raise ValueError(f"end must be one of the special tokens {sorted(special)}, got {end!r}")
    make = _gpt2 if config.positions == "learned" else _llama
    fields, tensors = make(config, model.state_dict())
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) > 1:
        raise ValueError(f"model must have parameters of one dtype, got {sorted(map(str, dtypes))}")
    fields |= {
        "vocab_size": config.vocab_size, "tie_word_embeddings": config.tie_embeddings,
        "torch_dtype": str(dtypes.pop()).removeprefix("torch."), "bos_token_id": None,
        "eos_token_id": special.get(end), "pad_token_id": None,
    }  # fmt: skip
    texts["config.json"] = json.dumps(fields, indent=2)

    def write(part: Path) -> None:
        save_file(tensors, part / "model.safetensors", metadata={"format": "pt"})
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8", newline="")

    replace_folder(folder, write)


def _gpt2(config: GPTConfig, state: Mapping[str, Tensor]) -> tuple[dict, dict[str, Tensor]]:
    activations = {ours: theirs for theirs, ours in reversed(GPT2_ACTIVATIONS.items())}
    fields = {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_positions": config.max_len,
        "n_embd": config.d_model, "n_layer": config.n_layers, "n_head": config.n_heads, "n_inner": config.d_ff,
        "activation_function": activations[config.feed_forward], "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout, "embd_pdrop": config.dropout, "attn_pdrop": config.dropout,
    }  # fmt: skip
    tensors = _theirs(config, state, GPT2_MODULES, "transformer.")
    return fields, {n: t.T.contiguous() if n.endswith(CONV1D) else t for n, t in tensors.items()}


def _llama(config: GPTConfig, state: Mapping[str, Tensor]) -> tuple[dict, dict[str, Tensor]]:
    scaling = config.rope_scaling and {
        "rope_type": "llama3", "factor": config.rope_scaling.factor,
        "low_freq_factor": config.rope_scaling.slow, "high_freq_factor": config.rope_scaling.fast,
        "original_max_position_embeddings": config.rope_scaling.original_max_len,
    }  # fmt: skip
    fields = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": config.max_len,
        "hidden_size": config.d_model, "intermediate_size": config.d_ff, "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads, "num_key_value_heads": config.n_kv_heads, "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps, "rope_theta": config.rope_base, "rope_scaling": scaling,
        "attention_dropout": config.dropout,
    }  # fmt: skip
    return fields, _theirs(config, state, LLAMA_MODULES, "model.")


def _theirs(
    config: GPTConfig, state: Mapping[str, Tensor], modules: Mapping[str, str | tuple[str, ...]], prefix: str
) -> dict[str, Tensor]:
    """The tensors under their names: the tables of the loaders, read backwards."""
    left, tensors = dict(state), {}
    if config.tie_embeddings:
        del left["unembed.weight"]
    for theirs, ours in modules.items():
        ours = (ours,) if isinstance(ours, str) else ours
        for number in range(config.n_layers) if "#" in theirs else (0,):
            for kind in ("weight", "bias"):
                parts = [left.pop(f"{name.replace('#', str(number))}.{kind}", None) for name in ours]
                if parts[0] is not None:
                    name = f"{theirs.replace('#', str(number))}.{kind}"
                    name = name if name.startswith("lm_head.") else prefix + name
                    tensors[name] = torch.cat(parts).detach().cpu().contiguous()
    if left:
        raise ValueError(f"model holds {', '.join(sorted(left)[:3])}, for which the files have no place")
    return tensors
