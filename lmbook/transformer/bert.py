"""The encoder-only model: BERT, and the sentence encoders that descend from it."""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmbook._checks import (
    check_above_zero,
    check_divides,
    check_fraction,
    check_ids,
    check_mask,
    check_positive,
    check_width,
)
from lmbook.transformer.blocks import Block, PostNorm
from lmbook.transformer.layers import FeedForward, LayerNorm, keep_tied
from lmbook.transformer.masks import first_real
from lmbook.transformer.multihead import MultiHeadAttention
from lmbook.transformer.positions import LearnedPositions, count_positions


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """Sizes of a BERT.

    Args:
        max_len: longest sequence, in tokens.
        n_segments: kinds of segment (first or second sentence).

    Source: Devlin et al. 2019, sec. 3. Book: architectures.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    max_len: int = 512
    n_segments: int = 2
    dropout: float = 0.0
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff", "max_len", "n_segments")
        check_positive(**{name: getattr(self, name) for name in sizes})
        check_divides(d_model=self.d_model, n_heads=self.n_heads)
        check_fraction(dropout=self.dropout)
        check_above_zero(norm_eps=self.norm_eps)


def bert_base() -> BertConfig:
    """110 million parameters. Source: Devlin et al. 2019, sec. 3."""
    return BertConfig(vocab_size=30522, d_model=768, n_layers=12, n_heads=12, d_ff=3072)


def bert_large() -> BertConfig:
    """335 million parameters (340 in the paper). Source: Devlin et al. 2019, sec. 3."""
    return BertConfig(vocab_size=30522, d_model=1024, n_layers=24, n_heads=16, d_ff=4096)


def minilm_l6() -> BertConfig:
    """23 million parameters. Source: the published configuration of all-MiniLM-L6-v2, after Wang et al. 2020."""
    return BertConfig(vocab_size=30522, d_model=384, n_layers=6, n_heads=12, d_ff=1536)


class BertEncoder(nn.Module):
    """Maps token ids to one vector for each token, which has looked at the whole sequence.

    Source: Devlin et al. 2019, sec. 3. Book: architectures.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = LearnedPositions(config.max_len, config.d_model)
        self.segments = nn.Embedding(config.n_segments, config.d_model)
        self.norm = self._norm()
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(self._block() for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)
        _reset_parameters(self)

    def _norm(self) -> LayerNorm:
        return LayerNorm(self.config.d_model, eps=self.config.norm_eps)

    def _block(self) -> Block:
        config = self.config
        attention = MultiHeadAttention(config.d_model, config.n_heads, dropout=config.dropout)
        feed_forward = FeedForward(config.d_model, config.d_ff, activation="gelu")
        return Block(attention, feed_forward, norm=self._norm, residual=PostNorm, dropout=config.dropout)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        *,
        mask: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Contextual vectors of the tokens.

        Args:
            mask: True where a token is real and not padding, which may stand on either
                side: positions count from the first real token.
            segments: 0 for tokens of the first sentence (default), 1 for the second.
        """
        config = self.config
        check_ids(ids, config.vocab_size)
        if ids.shape[1] > config.max_len:
            raise ValueError(f"ids must have at most max_len={config.max_len} tokens, got {ids.shape[1]}")
        if mask is not None:
            check_mask(mask, ids.shape)
        if segments is None:
            segments = torch.zeros_like(ids)
        check_ids(segments, config.n_segments, name="segments")
        if segments.shape != ids.shape:
            raise ValueError(f"segments must have the shape of ids, {tuple(ids.shape)}, got {tuple(segments.shape)}")
        positions = count_positions(0, ids.shape[1], mask, ids.device)
        x = self.embed(ids) + self.positions(positions) + self.segments(segments)
        x = self.dropout(self.norm(x))
        keys = None if mask is None else rearrange(mask, "B T -> B 1 1 T")
        for block in self.blocks:
            x = block(x, mask=keys)
        return x

    def pool(self, hidden: Float[Tensor, "B T D"], *, mask: Bool[Tensor, "B T"] | None = None) -> Float[Tensor, "B D"]:
        """One vector for each sequence, from its first real token ([CLS])."""
        check_width(hidden, self.config.d_model, name="hidden")
        if mask is None:
            return self.pooler(hidden[:, 0]).tanh()
        check_mask(mask, hidden.shape[:2])
        rows = torch.arange(len(hidden), device=hidden.device)
        return self.pooler(hidden[rows, first_real(mask)]).tanh()


class BERT(nn.Module):
    """The encoder with its two pretraining heads: ``forward`` gives masked-LM logits at every position.

    Source: Devlin et al. 2019, sec. 3.1, and the published code. Book: architectures, objectives.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = BertEncoder(config)
        self.transform = nn.Linear(config.d_model, config.d_model)
        self.norm = LayerNorm(config.d_model, eps=config.norm_eps)
        self.unembed = nn.Linear(config.d_model, config.vocab_size)
        self.is_next = nn.Linear(config.d_model, 2)
        keep_tied(self, "encoder.embed")
        _reset_parameters(self)

    def forward(self, ids: Int[Tensor, "B T"], **kwargs) -> Float[Tensor, "B T V"]:
        """Logits of the token at each position; keyword arguments are those of ``BertEncoder.forward``."""
        hidden = self.encoder(ids, **kwargs)
        return self.unembed(self.norm(F.gelu(self.transform(hidden))))

    def next_sentence(self, ids: Int[Tensor, "B T"], **kwargs) -> Float[Tensor, "B 2"]:
        """Logits of "the second segment follows the first" (0) and "it does not" (1)."""
        hidden = self.encoder(ids, **kwargs)
        return self.is_next(self.encoder.pool(hidden, mask=kwargs.get("mask")))


@torch.no_grad()
def _reset_parameters(model: nn.Module) -> None:
    """Normal with std 0.02, biases zero. Source: the code published with Devlin et al. 2019."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
