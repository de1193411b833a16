"""GPT-2, BERT and Llama from Hugging Face's files into our own models.

Each family needs a table from their module names to ours, the sizes from its config.json, and a check that the
configuration asks for nothing that our model does not do.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from lmbook.interop.convert import fill
from lmbook.interop.files import Config, download, read_config, read_tensors, tensor_names, weight_files
from lmbook.interop.layouts import BERT_ENCODER_MODULES, BERT_MODULES, BUFFERS, GPT2_MODULES, LLAMA_MODULES
from lmbook.transformer import BERT, GPT, BertConfig, BertEncoder, GPTConfig

_CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # GPT-2 stores these as (in, out), nn.Linear as (out, in)
_GPT2_ACTIVATIONS = {
    "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu",
}  # fmt: skip
_Sizes = TypeVar("_Sizes", GPTConfig, BertConfig)


def load_gpt2(folder: str | Path, *, dtype: torch.dtype | None = torch.float32, dropout: float = 0.0) -> GPT:
    """The GPT-2 in a folder with config.json and model.safetensors, in eval mode.

    Args:
        dtype: of the parameters; None keeps that of the file.
        dropout: for training it further; the rates in config.json are not used.

    Raises:
        ValueError: naming the file, and what in it is missing, too much, damaged or not supported.

    Source: the code and weights published with Radford et al. 2019, as converted by Hugging Face.
    Book: architectures.
    """
    folder = Path(folder)
    config = _config(folder, "gpt2")
    config.require("scale_attn_weights", True)
    config.require("scale_attn_by_inverse_layer_idx", False)
    config.require("add_cross_attention", False)
    config.require("activation_function", *_GPT2_ACTIVATIONS)
    sizes = _sizes(
        config, GPTConfig, vocab_size=config["vocab_size"], max_len=config["n_positions"], d_model=config["n_embd"],
        n_layers=config["n_layer"], n_heads=config["n_head"], d_ff=config.get("n_inner", None),
        feed_forward=_GPT2_ACTIVATIONS[config.get("activation_function", "gelu_new")],
        norm_eps=config.get("layer_norm_epsilon", 1e-5), tie_embeddings=config.get("tie_word_embeddings", True),
        dropout=dropout,
    )  # fmt: skip
    with torch.device("meta"):
        model = GPT(sizes)
    tensors = _without(read_tensors(weight_files(folder)), "transformer.")
    tensors = ((name, tensor.T if name.endswith(_CONV1D) else tensor) for name, tensor in tensors)
    fill(model, tensors, GPT2_MODULES, source=str(folder), dtype=dtype, ignored=BUFFERS)
    return model.eval()


def load_llama(folder: str | Path, *, dtype: torch.dtype | None = torch.float32, dropout: float = 0.0) -> GPT:
    """The Llama (or SmolLM2, or other model of type "llama") in a folder; all else as for ``load_gpt2``.

    Not supported, and refused: scaled rotary positions (Llama 3.1 and later), biases, heads wider or narrower than
    d_model / n_heads.

    Source: Touvron et al. 2023; Hugging Face's files. Book: architectures.
    """
    folder = Path(folder)
    config = _config(folder, "llama")
    config.require("hidden_act", "silu")
    config.require("attention_bias", False)
    config.require("mlp_bias", False)
    config.require("rope_scaling", None)
    d_model, n_heads = config["hidden_size"], config["num_attention_heads"]
    sizes = _sizes(
        config, GPTConfig, vocab_size=config["vocab_size"], max_len=config["max_position_embeddings"], d_model=d_model,
        n_layers=config["num_hidden_layers"], n_heads=n_heads, n_kv_heads=config.get("num_key_value_heads", None),
        d_ff=config["intermediate_size"], positions="rotary", norm="rms", feed_forward="swiglu", bias=False,
        norm_eps=config["rms_norm_eps"], rope_base=_rope_base(config),
        tie_embeddings=config.get("tie_word_embeddings", False), dropout=dropout,
    )  # fmt: skip
    config.require("head_dim", d_model // n_heads)
    with torch.device("meta"):
        model = GPT(sizes)
    tensors = _without(read_tensors(weight_files(folder)), "model.")
    fill(model, tensors, LLAMA_MODULES, source=str(folder), dtype=dtype, ignored=BUFFERS)
    return model.eval()


def load_bert(
    folder: str | Path, *, dtype: torch.dtype | None = torch.float32, dropout: float = 0.0
) -> BERT | BertEncoder:
    """The BERT in a folder: a ``BERT`` if the file holds the masked-LM head, a ``BertEncoder`` otherwise.

    A file may also lack the pooler or the next-sentence head; to use one that is lacking raises a ValueError.
    All else as for ``load_gpt2``.

    Source: the code and weights published with Devlin et al. 2019, as converted by Hugging Face. Book: architectures.
    """
    folder = Path(folder)
    config = _config(folder, "bert")
    config.require("hidden_act", "gelu")
    config.require("position_embedding_type", "absolute")
    config.require("is_decoder", False)
    config.require("tie_word_embeddings", True)
    sizes = _sizes(
        config, BertConfig, vocab_size=config["vocab_size"], d_model=config["hidden_size"],
        n_layers=config["num_hidden_layers"], n_heads=config["num_attention_heads"], d_ff=config["intermediate_size"],
        max_len=config["max_position_embeddings"], n_segments=config["type_vocab_size"],
        norm_eps=config["layer_norm_eps"], dropout=dropout,
    )  # fmt: skip
    files = weight_files(folder)
    names = [name.removeprefix("bert.") for name in tensor_names(files)]
    has_head = any(name.startswith("cls.predictions.") for name in names)
    with torch.device("meta"):
        model = BERT(sizes) if has_head else BertEncoder(sizes)
    encoder = model.encoder if has_head else model
    if not any(name.startswith("pooler.") for name in names):
        encoder.pooler = _Lacking(f"{folder} holds no pooler, so there is no vector of a whole sequence")
    if has_head and not any(name.startswith("cls.seq_relationship.") for name in names):
        model.is_next = _Lacking(f"{folder} holds no next-sentence head")
    modules = BERT_MODULES if has_head else BERT_ENCODER_MODULES
    fill(model, _without(read_tensors(files), "bert."), modules, source=str(folder), dtype=dtype, ignored=BUFFERS)
    return model.eval()


_LOADERS = {"gpt2": load_gpt2, "llama": load_llama, "bert": load_bert}


def load_pretrained(
    folder_or_repo_id: str | Path,
    *,
    revision: str | None = None,
    dtype: torch.dtype | None = torch.float32,
    dropout: float = 0.0,
) -> GPT | BERT | BertEncoder:
    """The model in a folder, or in a repository of the Hugging Face hub, by the model_type in its config.json.

    Args:
        folder_or_repo_id: a folder; or "owner/name", or "gpt2", which ``download`` fetches.
        revision: branch, tag or commit of the repository.
        dtype, dropout: as for ``load_gpt2``.

    Raises:
        ValueError: no such folder or repository, a model_type other than gpt2, llama and bert, or damaged files.
        ConnectionError: the repository is not in the cache, and there is no network.

    Book: architectures.
    """
    folder = Path(folder_or_repo_id)
    if not folder.is_dir():
        if not isinstance(folder_or_repo_id, str) or folder.is_absolute() or folder_or_repo_id.startswith("."):
            raise ValueError(f"folder_or_repo_id must be a folder or a repository of the hub, got {str(folder)!r}")
        folder = download(folder_or_repo_id, revision=revision)
    config = read_config(folder)
    if (kind := config["model_type"]) not in _LOADERS:
        raise ValueError(f"{config.path}: model_type must be one of {', '.join(_LOADERS)}, got {kind!r}")
    return _LOADERS[kind](folder, dtype=dtype, dropout=dropout)


class _Lacking(nn.Module):
    """Stands where a file holds no weights."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def forward(self, *args, **kwargs):
        raise ValueError(self.message)


def _config(folder: Path, model_type: str) -> Config:
    config = read_config(folder)
    if config["model_type"] != model_type:
        raise ValueError(f"{config.path}: model_type must be {model_type!r}, got {config['model_type']!r}")
    return config


def _sizes(config: Config, kind: type[_Sizes], **sizes) -> _Sizes:
    """Our configuration; what it refuses is said of their file."""
    try:
        return kind(**sizes)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{config.path}: {error}") from None


def _rope_base(config: Config) -> float:
    """The base of the rotary positions: in rope_parameters since 2025, in rope_theta before, 10,000 at first."""
    rope = config.get("rope_parameters", {})
    if not isinstance(rope, dict):
        raise ValueError(f"{config.path}: rope_parameters must be an object, got {rope!r}")
    nested = Config(Path(f"{config.path}: rope_parameters"), rope)
    nested.require("rope_type", "default")
    nested.require("partial_rotary_factor", 1.0)
    return float(rope.get("rope_theta", config.get("rope_theta", 10000.0)))


def _without(tensors: Iterator[tuple[str, Tensor]], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """The same tensors; the prefix stands in files of models with a head, and not in those without."""
    return ((name.removeprefix(prefix), tensor) for name, tensor in tensors)
