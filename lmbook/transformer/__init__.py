"""The Transformer and its parts."""

from lmbook.transformer.attention import attention, attention_weights, fast_attention
from lmbook.transformer.bert import BERT, BertConfig, BertEncoder, bert_base, bert_large, minilm_l6
from lmbook.transformer.blocks import Block, PostNorm, PreNorm
from lmbook.transformer.cache import KVCache, LayerCache
from lmbook.transformer.encoder_decoder import (
    EncoderDecoder,
    EncoderDecoderConfig,
    t5_base,
    t5_large,
    t5_small,
    transformer_base,
)
from lmbook.transformer.gpt import GPT, GPTConfig
from lmbook.transformer.layers import FeedForward, GatedFeedForward, LayerNorm, RMSNorm, layer_norm, rms_norm
from lmbook.transformer.masks import causal_mask, padding_mask, prefix_mask, window_mask
from lmbook.transformer.multihead import MultiHeadAttention, record_attention
from lmbook.transformer.positions import (
    AlibiBias,
    LearnedPositions,
    RelativeBias,
    Rotary,
    SinusoidalPositions,
    alibi_slopes,
    relative_buckets,
    rotate,
    sinusoidal_encoding,
)
from lmbook.transformer.presets import gpt2_large, gpt2_medium, gpt2_small, gpt2_xl, llama2_7b, llama3_8b, smollm2_135m
from lmbook.transformer.rope_scaling import RopeScaling

__all__ = [
    "BERT", "GPT", "AlibiBias", "BertConfig", "BertEncoder", "Block",
    "EncoderDecoder", "EncoderDecoderConfig", "FeedForward", "GPTConfig",
    "GatedFeedForward", "KVCache", "LayerCache", "LayerNorm", "LearnedPositions",
    "MultiHeadAttention", "PostNorm", "PreNorm", "RMSNorm", "RelativeBias",
    "RopeScaling", "Rotary", "SinusoidalPositions", "alibi_slopes", "attention",
    "attention_weights", "bert_base", "bert_large", "causal_mask", "fast_attention",
    "gpt2_large", "gpt2_medium", "gpt2_small", "gpt2_xl", "layer_norm", "llama2_7b",
    "llama3_8b", "minilm_l6", "padding_mask", "prefix_mask", "record_attention",
    "relative_buckets", "rms_norm", "rotate", "sinusoidal_encoding", "smollm2_135m",
    "t5_base", "t5_large", "t5_small", "transformer_base", "window_mask",
]  # fmt: skip
