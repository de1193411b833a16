"""The decoder-only language model: GPT-2 and, by its sizes and choices, Llama and its kin."""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmbook._checks import (
    check_above_zero,
    check_choice,
    check_divides,
    check_even,
    check_fraction,
    check_ids,
    check_mask,
    check_positive,
)
from lmbook.transformer.blocks import Block
from lmbook.transformer.cache import KVCache, layer_caches
from lmbook.transformer.layers import FeedForward, GatedFeedForward, LayerNorm, RMSNorm, keep_tied
from lmbook.transformer.multihead import MultiHeadAttention
from lmbook.transformer.positions import AlibiBias, LearnedPositions, RelativeBias, Rotary, SinusoidalPositions
from lmbook.transformer.rope_scaling import RopeScaling


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Sizes and choices of a GPT.

    Five choices lead from GPT-2 to Llama: positions="rotary", norm="rms",
    feed_forward="swiglu", bias=False, and in the larger ones tie_embeddings=False.

    Args:
        max_len: longest sequence, in tokens.
        n_kv_heads: heads of keys and values, n_heads unless given.
        d_ff: inner width of the feed-forward network, 4 · d_model unless given.
        positions: none, learned, sinusoidal, rotary, alibi or t5. Sinusoidal waves (root mean square 0.7) drown
            embeddings drawn with std 0.02; Vaswani et al. 2017 multiply theirs by sqrt(d_model), here they are not.
        norm: layer or rms.
        feed_forward: relu, gelu, gelu_tanh or swiglu.
        bias: whether linear layers and LayerNorms have biases.
        qkv_bias: whether queries, keys and values have them (Qwen2); as bias unless given.
        tie_embeddings: one matrix for the embeddings and the output layer.
        rope_scaling: stretches rotary positions (Llama 3.1).

    Source: Radford et al. 2019 (GPT-2), sec. 2.3; Touvron et al. 2023 (LLaMA), sec. 2.2. Book: architectures.
    """

    vocab_size: int
    max_len: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int | None = None
    d_ff: int | None = None
    positions: str = "learned"
    norm: str = "layer"
    feed_forward: str = "gelu_tanh"
    bias: bool = True
    qkv_bias: bool | None = None
    tie_embeddings: bool = True
    dropout: float = 0.0
    norm_eps: float = 1e-5
    rope_base: float = 10000.0
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_kv_heads", self.n_heads if self.n_kv_heads is None else self.n_kv_heads)
        object.__setattr__(self, "qkv_bias", self.bias if self.qkv_bias is None else self.qkv_bias)
        check_positive(d_model=self.d_model)
        object.__setattr__(self, "d_ff", 4 * self.d_model if self.d_ff is None else self.d_ff)
        sizes = ("vocab_size", "max_len", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_ff")
        check_positive(**{name: getattr(self, name) for name in sizes})
        check_divides(d_model=self.d_model, n_heads=self.n_heads)
        check_divides(n_heads=self.n_heads, n_kv_heads=self.n_kv_heads)
        check_choice(("none", "learned", "sinusoidal", "rotary", "alibi", "t5"), positions=self.positions)
        check_choice(("layer", "rms"), norm=self.norm)
        check_choice(("relu", "gelu", "gelu_tanh", "swiglu"), feed_forward=self.feed_forward)
        check_fraction(dropout=self.dropout)
        check_above_zero(norm_eps=self.norm_eps, rope_base=self.rope_base)
        if self.positions == "sinusoidal":
            check_even(d_model=self.d_model)
        elif self.positions == "rotary":
            check_even(d_head=self.d_model // self.n_heads)
        if self.rope_scaling is not None and self.positions != "rotary":
            raise ValueError(f"rope_scaling is for positions='rotary', got {self.positions!r}")


class GPT(nn.Module):
    """A decoder-only Transformer: ``forward`` maps token ids to the logits of the next token at every position.

    Source: Radford et al. 2018 and 2019; Touvron et al. 2023. Book: architectures.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.positions: nn.Module | None = None
        if config.positions == "learned":
            self.positions = LearnedPositions(config.max_len, config.d_model)
        elif config.positions == "sinusoidal":
            self.positions = SinusoidalPositions(config.d_model)
        self.bias: nn.Module | None = None
        if config.positions == "alibi":
            self.bias = AlibiBias(config.n_heads)
        elif config.positions == "t5":
            self.bias = RelativeBias(config.n_heads, bidirectional=False)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(self._block() for _ in range(config.n_layers))
        self.norm = self._norm()
        self.unembed = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            keep_tied(self, "embed")
        self.register_load_state_dict_post_hook(_bring_slopes)
        self.reset_parameters()

    def _norm(self) -> nn.Module:
        config = self.config
        if config.norm == "rms":
            return RMSNorm(config.d_model, eps=config.norm_eps)
        return LayerNorm(config.d_model, eps=config.norm_eps, bias=config.bias)

    def _block(self) -> Block:
        config = self.config
        rotary = None
        if config.positions == "rotary":
            rotary = Rotary(config.d_model // config.n_heads, base=config.rope_base, scaling=config.rope_scaling)
        attention = MultiHeadAttention(
            config.d_model, config.n_heads, n_kv_heads=config.n_kv_heads, bias=config.bias, qkv_bias=config.qkv_bias,
            dropout=config.dropout, rotary=rotary,
        )  # fmt: skip
        if config.feed_forward == "swiglu":
            feed_forward = GatedFeedForward(config.d_model, config.d_ff, bias=config.bias)
        else:
            feed_forward = FeedForward(config.d_model, config.d_ff, activation=config.feed_forward, bias=config.bias)
        return Block(attention, feed_forward, norm=self._norm, dropout=config.dropout)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weight matrices anew: std 0.02, and 0.02 / sqrt(2 · n_layers) where they write to the stream.

        All else is set to what it was in a new model, so that a model may come from the
        meta device through ``to_empty``: weights of norms to 1, biases to 0, the tie.

        Source: Radford et al. 2019, sec. 2.3, and the published code.
        """
        if self.config.tie_embeddings:
            self.unembed.weight = self.embed.weight
        if isinstance(self.bias, AlibiBias):
            self.bias.reset()
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                writes = name.endswith(("w_o.weight", "w_out.weight"))
                std = 0.02 / math.sqrt(2 * self.config.n_layers) if writes else 0.02
                nn.init.normal_(parameter, std=std, generator=generator)
            else:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)

    def hidden(
        self, ids: Int[Tensor, "B T"], *, mask: Bool[Tensor, "B S"] | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "B T D"]:
        """The residual stream after the last norm; arguments as for ``forward``."""
        check_ids(ids, self.config.vocab_size)
        caches = layer_caches(cache, len(self.blocks))
        start = 0 if cache is None else cache.length
        n_keys = start + ids.shape[1]
        if n_keys > self.config.max_len:
            raise ValueError(f"ids must have at most max_len={self.config.max_len} tokens, got {n_keys}")
        if mask is not None:
            check_mask(mask, (len(ids), n_keys))
        x = self.embed(ids)
        if self.positions is not None:
            positions = torch.arange(start, n_keys, device=ids.device)
            if mask is not None:  # count real tokens only, so that padding on the left changes nothing
                positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, start:]
            if self.config.positions == "sinusoidal":
                positions = positions.double()  # waves in full precision, rounded once, to the width of x
            x = x + self.positions(positions).to(x.dtype)
        x = self.dropout(x)
        bias = None if self.bias is None else self.bias(ids.shape[1], n_keys)
        keys = None if mask is None else rearrange(mask, "B S -> B 1 1 S")
        for block, layer_cache in zip(self.blocks, caches, strict=True):
            x = block(x, mask=keys, causal=True, bias=bias, cache=layer_cache)
        return self.norm(x)

    def forward(
        self, ids: Int[Tensor, "B T"], *, mask: Bool[Tensor, "B S"] | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "B T V"]:
        """Logits of the next token after each token of ids.

        Args:
            mask: True where a token is real and not padding, for all S tokens including those in the cache.
            cache: holds the tokens before ids, and receives ids; ``KVCache(n_layers)`` to begin with.

        Raises:
            ValueError: an id outside the vocabulary, an empty sequence, or more than max_len tokens.
        """
        return self.unembed(self.hidden(ids, mask=mask, cache=cache))


def _bring_slopes(model: GPT, keys) -> None:
    """After load_state_dict(assign=True) into a model on meta: the slopes are not in it."""
    if isinstance(model.bias, AlibiBias) and model.bias.slopes.is_meta:
        model.bias.reset(model.embed.weight.device)
