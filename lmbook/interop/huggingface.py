"""GPT-2 and BERT from Hugging Face's files into our own models, and any family by the type that its file names.

Each family needs a table from their module names to ours, the sizes from its config.json, and a check that the
configuration asks for nothing that our model does not do.
"""

from pathlib import Path

import torch
from torch import nn

from lmbook.interop.configs import read_config, sizes
from lmbook.interop.convert import fill
from lmbook.interop.files import download, read_tensors, tensor_names, weight_files, without
from lmbook.interop.layouts import BERT_ENCODER_MODULES, BERT_MODULES, BUFFERS, GPT2_MODULES
from lmbook.interop.llama import load_llama, load_qwen2
from lmbook.interop.t5 import load_t5
from lmbook.transformer import BERT, GPT, BertConfig, BertEncoder, EncoderDecoder, GPTConfig

CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # GPT-2 stores these as (in, out), nn.Linear as (out, in)
GPT2_ACTIVATIONS = {
    "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "gelu_python": "gelu", "relu": "relu",
}  # fmt: skip


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
    config = read_config(folder, "gpt2")
    config.require("scale_attn_weights", True)
    config.require("scale_attn_by_inverse_layer_idx", False)
    config.require("add_cross_attention", False)
    config.require("activation_function", *GPT2_ACTIVATIONS)
    ours = sizes(
        config, GPTConfig, vocab_size=config["vocab_size"], max_len=config["n_positions"], d_model=config["n_embd"],
        n_layers=config["n_layer"], n_heads=config["n_head"], d_ff=config.get("n_inner", None),
        feed_forward=GPT2_ACTIVATIONS[config.get("activation_function", "gelu_new")],
        norm_eps=config.get("layer_norm_epsilon", 1e-5), tie_embeddings=config.get("tie_word_embeddings", True),
        dropout=dropout,
    )  # fmt: skip
    with torch.device("meta"):
        model = GPT(ours)
    tensors = without(read_tensors(weight_files(folder)), "transformer.")
    tensors = ((name, tensor.T if name.endswith(CONV1D) else tensor) for name, tensor in tensors)
    fill(model, tensors, GPT2_MODULES, source=str(folder), dtype=dtype, ignored=BUFFERS)
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
    config = read_config(folder, "bert")
    config.require("hidden_act", "gelu", "gelu_python")
    config.require("position_embedding_type", "absolute")
    config.require("is_decoder", False)
    config.require("is_encoder_decoder", False)
    config.require("tie_word_embeddings", True)
    ours = sizes(
        config, BertConfig, vocab_size=config["vocab_size"], d_model=config["hidden_size"],
        n_layers=config["num_hidden_layers"], n_heads=config["num_attention_heads"], d_ff=config["intermediate_size"],
        max_len=config["max_position_embeddings"], n_segments=config["type_vocab_size"],
        norm_eps=config["layer_norm_eps"], dropout=dropout,
    )  # fmt: skip
    files = weight_files(folder)
    names = [name.removeprefix("bert.") for name in tensor_names(files)]
    has_head = any(name.startswith("cls.predictions.") for name in names)
    with torch.device("meta"):
        model = BERT(ours) if has_head else BertEncoder(ours)
    encoder = model.encoder if has_head else model
    if not any(name.startswith("pooler.") for name in names):
        encoder.pooler = _Lacking(f"{folder} holds no pooler, so there is no vector of a whole sequence")
    if has_head and not any(name.startswith("cls.seq_relationship.") for name in names):
        model.is_next = _Lacking(f"{folder} holds no next-sentence head")
    modules = BERT_MODULES if has_head else BERT_ENCODER_MODULES
    fill(model, without(read_tensors(files), "bert."), modules, source=str(folder), dtype=dtype, ignored=BUFFERS)
    return model.eval()


_LOADERS = {
    "gpt2": load_gpt2, "llama": load_llama, "qwen2": load_qwen2, "bert": load_bert, "t5": load_t5, "mt5": load_t5,
}  # fmt: skip


def load_pretrained(
    folder_or_repo_id: str | Path,
    *,
    revision: str | None = None,
    dtype: torch.dtype | None = torch.float32,
    dropout: float = 0.0,
) -> GPT | BERT | BertEncoder | EncoderDecoder:
    """The model in a folder, or in a repository of the Hugging Face hub, by the model_type in its config.json.

    Args:
        folder_or_repo_id: a folder; or "owner/name", or "gpt2", which ``download`` fetches.
        revision: branch, tag or commit of the repository.
        dtype, dropout: as for ``load_gpt2``.

    Raises:
        ValueError: no such folder or repository, a model_type other than those of the loaders, or damaged files.
        ConnectionError: the repository is not in the cache, and there is no network.

    Book: architectures.
    """
    folder = Path(folder_or_repo_id)
    if not folder.is_dir():
        if not isinstance(folder_or_repo_id, str) or folder.is_absolute() or folder_or_repo_id.startswith("."):
            raise ValueError(f"folder_or_repo_id must be a folder or a repository of the hub, got {str(folder)!r}")
        folder = download(folder_or_repo_id, revision=revision)
    kind = read_config(folder, *_LOADERS)["model_type"]
    return _LOADERS[kind](folder, dtype=dtype, dropout=dropout)


class _Lacking(nn.Module):
    """Stands where a file holds no weights."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def forward(self, *args, **kwargs):
        raise ValueError(self.message)
