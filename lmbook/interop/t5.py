"""T5, T5 1.1, Flan-T5 and mT5 from Hugging Face's files into our own encoder-decoder."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lmbook.interop.configs import read_config, sizes
from lmbook.interop.convert import fill
from lmbook.interop.files import read_tensors, tensor_names, weight_files
from lmbook.interop.layouts import T5_MODULES, T5_UNUSED
from lmbook.transformer import EncoderDecoder, EncoderDecoderConfig

_FEED_FORWARDS = {"relu": ("relu", "relu"), "gated-gelu": ("geglu", "gelu_new")}  # theirs -> ours, their inner function


def load_t5(folder: str | Path, *, dtype: torch.dtype | None = torch.float32, dropout: float = 0.0) -> EncoderDecoder:
    """The T5 (or T5 1.1, Flan-T5, mT5) in a folder; all else as for ``load_gpt2``.

    Relative positions have no longest sequence; ``max_len`` is n_positions of the file, or 512. The first token of
    a target is the padding token, id 0.

    Source: Raffel et al. 2020; Shazeer 2020 (the gated feed-forward of T5 1.1); Xue et al. 2021 (mT5); Hugging
    Face's files. Book: architectures.
    """
    folder = Path(folder)
    config = read_config(folder, "t5", "mt5")
    config.require("feed_forward_proj", *_FEED_FORWARDS)
    feed_forward, inner = _FEED_FORWARDS[config.get("feed_forward_proj", "relu")]
    config.require("dense_act_fn", inner)
    config.require("is_gated_act", feed_forward == "geglu")
    config.require("is_encoder_decoder", True)
    config.require("is_decoder", False)
    config.require("relative_attention_num_buckets", 32)
    config.require("relative_attention_max_distance", 128)
    config.require("layer_norm_epsilon", 1e-6)
    config.require("num_decoder_layers", config["num_layers"])
    # The first T5 scales the last vectors and shares one matrix; T5 1.1 does neither. Files say so in one word.
    tied = config.get("tie_word_embeddings", True)
    scaled = config["model_type"] == "t5" and config.get("scale_decoder_outputs", tied)
    ours = sizes(
        config, EncoderDecoderConfig, vocab_size=config["vocab_size"], d_model=config["d_model"],
        n_layers=config["num_layers"], n_heads=config["num_heads"], d_head=config["d_kv"], d_ff=config["d_ff"],
        max_len=config.get("n_positions", 512), style="t5", feed_forward=feed_forward, tie_embeddings=scaled,
        dropout=dropout,
    )  # fmt: skip
    with torch.device("meta"):
        model = EncoderDecoder(ours)
    files = weight_files(folder)
    has_head = "lm_head.weight" in tensor_names(files)
    tensors = read_tensors(files) if scaled or has_head else _with_head(read_tensors(files))
    fill(model, tensors, T5_MODULES, source=str(folder), dtype=dtype, ignored=T5_UNUSED)
    return model.eval()


def _with_head(tensors: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The embeddings once more as the output layer, where they are shared without being scaled."""
    for name, tensor in tensors:
        yield name, tensor
        if name == "shared.weight":
            yield "lm_head.weight", tensor
