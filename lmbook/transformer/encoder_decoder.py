"""The encoder-decoder: T5 and, by its choices, the Transformer of 2017."""

from dataclasses import dataclass

import torch.nn as nn
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmbook._checks import (
    check_choice,
    check_even,
    check_fraction,
    check_ids,
    check_mask,
    check_positive,
    check_width,
)
from lmbook.transformer.blocks import Block, PostNorm, PreNorm
from lmbook.transformer.cache import KVCache, layer_caches
from lmbook.transformer.layers import FeedForward, GatedFeedForward, LayerNorm, RMSNorm, keep_tied
from lmbook.transformer.multihead import MultiHeadAttention
from lmbook.transformer.positions import RelativeBias, SinusoidalPositions, count_positions


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig:
    """Sizes and style of an encoder-decoder.

    Args:
        n_layers: blocks of the encoder, and again of the decoder.
        d_head: width of a head (T5's is not d_model / n_heads in every size).
        max_len: longest sequence, in tokens.
        style: t5 (pre-norm RMSNorm, no biases, relative positions, unscaled scores) or vaswani (post-norm
            LayerNorm, biases, sinusoidal positions).
        feed_forward: relu or geglu (T5 1.1).
        tie_embeddings: one matrix for both embeddings and the output layer.

    Source: Raffel et al. 2020, sec. 2.1; Vaswani et al. 2017, sec. 3. Book: architectures.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_head: int
    d_ff: int
    max_len: int = 512
    style: str = "t5"
    feed_forward: str = "relu"
    tie_embeddings: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "d_model", "n_layers", "n_heads", "d_head", "d_ff", "max_len")
        check_positive(**{name: getattr(self, name) for name in sizes})
        check_choice(("t5", "vaswani"), style=self.style)
        check_choice(("relu", "geglu"), feed_forward=self.feed_forward)
        check_fraction(dropout=self.dropout)
        if self.style == "vaswani":
            check_even(d_model=self.d_model)  # of a sine and a cosine


def t5_small() -> EncoderDecoderConfig:
    """61 million parameters. Source: Raffel et al. 2020, sec. 3.7."""
    return EncoderDecoderConfig(vocab_size=32128, d_model=512, n_layers=6, n_heads=8, d_head=64, d_ff=2048)


def t5_base() -> EncoderDecoderConfig:
    """223 million parameters. Source: Raffel et al. 2020, sec. 3.1.1."""
    return EncoderDecoderConfig(vocab_size=32128, d_model=768, n_layers=12, n_heads=12, d_head=64, d_ff=3072)


def t5_large() -> EncoderDecoderConfig:
    """738 million parameters. Source: Raffel et al. 2020, sec. 3.7."""
    return EncoderDecoderConfig(vocab_size=32128, d_model=1024, n_layers=24, n_heads=16, d_head=64, d_ff=4096)


def transformer_base() -> EncoderDecoderConfig:
    """63 million parameters (65 in the paper). Source: Vaswani et al. 2017, table 3, and 37000 tokens of sec. 5.1."""
    return EncoderDecoderConfig(
        vocab_size=37000, d_model=512, n_layers=6, n_heads=8, d_head=64, d_ff=2048, style="vaswani", dropout=0.1
    )


class Stack(nn.Module):
    """Blocks of one kind with what they share: positions and, for pre-norm, a last norm."""

    def __init__(self, config: EncoderDecoderConfig, *, decoder: bool) -> None:
        super().__init__()
        self.config, self.decoder = config, decoder
        t5 = config.style == "t5"
        self.bias = RelativeBias(config.n_heads, bidirectional=not decoder) if t5 else None
        self.positions = None if t5 else SinusoidalPositions(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(self._block() for _ in range(config.n_layers))
        self.norm = self._norm() if t5 else None

    def _norm(self) -> nn.Module:
        d_model = self.config.d_model
        return RMSNorm(d_model) if self.config.style == "t5" else LayerNorm(d_model)

    def _attention(self) -> MultiHeadAttention:
        config, t5 = self.config, self.config.style == "t5"
        return MultiHeadAttention(
            config.d_model, config.n_heads, d_head=config.d_head, bias=not t5, dropout=config.dropout,
            scale=1.0 if t5 else None,
        )  # fmt: skip

    def _block(self) -> Block:
        config, t5 = self.config, self.config.style == "t5"
        if config.feed_forward == "geglu":
            feed_forward = GatedFeedForward(
                config.d_model, config.d_ff, activation="gelu_tanh", bias=not t5, dropout=config.dropout
            )
        else:
            feed_forward = FeedForward(
                config.d_model, config.d_ff, activation="relu", bias=not t5, dropout=config.dropout
            )
        return Block(
            self._attention(), feed_forward, norm=self._norm, residual=PreNorm if t5 else PostNorm,
            cross_attention=self._attention() if self.decoder else None, dropout=config.dropout,
        )  # fmt: skip

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"] | None = None,
        *,
        mask: Bool[Tensor, "B L"] | None = None,
        memory_mask: Bool[Tensor, "B S"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        caches = layer_caches(cache, len(self.blocks))
        start = 0 if cache is None else cache.length
        n_keys = start + x.shape[1]
        if mask is not None:
            check_mask(mask, (len(x), n_keys), name="target_mask" if self.decoder else "mask")
        if self.positions is not None:
            positions = count_positions(start, n_keys, mask, x.device)
            x = x + self.positions(positions.double()).to(x.dtype)
        x = self.dropout(x)
        bias = None if self.bias is None else self.bias(x.shape[1], n_keys)
        if memory_mask is not None:
            check_mask(memory_mask, memory.shape[:2])
        keys, memory_keys = (None if m is None else rearrange(m, "B S -> B 1 1 S") for m in (mask, memory_mask))
        for block, layer_cache in zip(self.blocks, caches, strict=True):
            x = block(x, memory, mask=keys, causal=self.decoder, bias=bias, cache=layer_cache, memory_mask=memory_keys)
        return x if self.norm is None else self.dropout(self.norm(x))


class EncoderDecoder(nn.Module):
    """An encoder that reads the source and a decoder that writes the target, one token after another.

    Source: Vaswani et al. 2017, sec. 3; Raffel et al. 2020, sec. 2.1. Book: architectures, machine-translation.
    """

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Stack(config, decoder=False)
        self.decoder = Stack(config, decoder=True)
        self.unembed = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            keep_tied(self, "embed")
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                unscaled = config.style == "t5" and name.endswith("w_q.weight")  # T5 scales queries here, not scores
                nn.init.xavier_uniform_(parameter, gain=config.d_head**-0.5 if unscaled else 1.0)
        nn.init.normal_(self.embed.weight, std=config.d_model**-0.5)

    def _embed(self, ids: Tensor, name: str, start: int = 0) -> Tensor:
        check_ids(ids, self.config.vocab_size, name=name)
        n_tokens = start + ids.shape[1]
        if n_tokens > self.config.max_len:
            raise ValueError(f"{name} must have at most max_len={self.config.max_len} tokens, got {n_tokens}")
        x = self.embed(ids)
        return x * self.config.d_model**0.5 if self.config.style == "vaswani" else x

    def encode(self, ids: Int[Tensor, "B S"], *, mask: Bool[Tensor, "B S"] | None = None) -> Float[Tensor, "B S D"]:
        """The memory: one vector for each source token. mask is True where a token is real."""
        return self.encoder(self._embed(ids, "ids"), mask=mask)

    def decode(
        self,
        target_ids: Int[Tensor, "B T"],
        memory: Float[Tensor, "B S D"],
        *,
        mask: Bool[Tensor, "B S"] | None = None,
        target_mask: Bool[Tensor, "B L"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits of the next target token at each position, given the memory; mask is the source's."""
        check_width(memory, self.config.d_model, name="memory")
        x = self._embed(target_ids, "target_ids", 0 if cache is None else cache.length)
        x = self.decoder(x, memory, mask=target_mask, memory_mask=mask, cache=cache)
        if self.config.style == "t5" and self.config.tie_embeddings:
            x = x * self.config.d_model**-0.5  # as in T5's published code
        return self.unembed(x)

    def forward(
        self,
        ids: Int[Tensor, "B S"],
        target_ids: Int[Tensor, "B T"],
        *,
        mask: Bool[Tensor, "B S"] | None = None,
        target_mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits of the next target token at each position.

        Both masks are True where a token is real; padding may stand on either side.
        """
        return self.decode(target_ids, self.encode(ids, mask=mask), mask=mask, target_mask=target_mask)
