from functools import partial

import pytest
import torch
from torch import nn

from lmbook.transformer import (
    Block,
    FeedForward,
    LayerCache,
    LayerNorm,
    MultiHeadAttention,
    PostNorm,
    PreNorm,
    causal_mask,
)

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)


def block(residual=PreNorm, cross=False, dropout=0.0):
    return Block(
        MultiHeadAttention(16, 4),
        FeedForward(16, 32, activation="relu"),
        norm=lambda: LayerNorm(16),
        residual=residual,
        cross_attention=MultiHeadAttention(16, 4) if cross else None,
        dropout=dropout,
    )


@pytest.mark.parametrize("norm_first", [True, False])
def test_encoder_block_equals_pytorch(norm_first, loud, randn, copy_block):
    reference = loud(nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, norm_first=norm_first, batch_first=True))
    ours, x = block(PreNorm if norm_first else PostNorm).double(), randn(2, 5, 16)
    copy_block(ours, reference)
    close(ours(x), reference(x))
    close(ours(x, causal=True), reference(x, src_mask=~causal_mask(5)))
    padding = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    expected = reference(x, src_key_padding_mask=~padding)
    close(ours(x, mask=padding[:, None, None])[padding], expected[padding])


@pytest.mark.parametrize("norm_first", [True, False])
def test_decoder_block_equals_pytorch(norm_first, loud, randn, copy_block):
    reference = loud(nn.TransformerDecoderLayer(16, 4, 32, dropout=0.0, norm_first=norm_first, batch_first=True))
    ours, x, memory = block(PreNorm if norm_first else PostNorm, cross=True).double(), randn(2, 5, 16), randn(2, 7, 16)
    copy_block(ours, reference)
    padding = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    expected = reference(x, memory, tgt_mask=~causal_mask(5), memory_key_padding_mask=~padding)
    close(ours(x, memory, causal=True, memory_mask=padding[:, None, None]), expected)


def test_bias_and_cache_reach_the_self_attention_alone(loud, randn):
    ours, x, memory, bias = loud(block(cross=True)), randn(2, 6, 16), randn(2, 7, 16), randn(4, 6, 6)
    whole = ours(x, memory, causal=True, bias=bias)
    cache = LayerCache()
    first = ours(x[:, :2], memory, causal=True, bias=bias[:, :2, :2], cache=cache)
    rest = ours(x[:, 2:], memory, causal=True, bias=bias[:, 2:], cache=cache)
    close(torch.cat([first, rest], dim=1), whole)
    assert (whole - ours(x, memory, causal=True)).abs().max() > 1e-3 and cache.length == 6


@pytest.mark.parametrize("residual", [PreNorm, PostNorm])
def test_residual_formula_and_dropout(residual, loud, randn):
    layer = loud(residual(nn.Linear(8, 8), LayerNorm(8), dropout=0.5))
    x = randn(2, 3, 8)
    sub, norm = layer.sublayer, layer.norm
    close(layer(x), x + sub(norm(x)) if residual is PreNorm else norm(x + sub(x)))
    layer.train()
    torch.manual_seed(0)
    dropped = nn.functional.dropout(sub(norm(x)) if residual is PreNorm else sub(x), 0.5)
    torch.manual_seed(0)
    close(layer(x), x + dropped if residual is PreNorm else norm(x + dropped))


def test_each_sublayer_has_its_own_norm():
    ours = block(cross=True)
    norms = {id(part.norm) for part in (ours.self_attention, ours.cross_attention, ours.feed_forward)}
    assert len(norms) == 3


@pytest.mark.parametrize("residual", [PreNorm, PostNorm])
def test_compiled_equals_eager(residual, loud, randn, compiled):
    ours, x = loud(block(residual)), randn(2, 5, 16)
    close(compiled(ours)(x, causal=True), ours(x, causal=True))
