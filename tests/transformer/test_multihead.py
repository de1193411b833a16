from functools import partial

import pytest
import torch
from torch import nn

from lmbook.transformer import (
    GPT,
    GPTConfig,
    LayerCache,
    MultiHeadAttention,
    Rotary,
    attention,
    causal_mask,
    record_attention,
)

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)


def copy_of(reference, n_heads):
    """Our attention with the weights of PyTorch's, which keeps those of queries, keys and values in one matrix."""
    ours = MultiHeadAttention(reference.embed_dim, n_heads, bias=reference.in_proj_bias is not None).double()
    with torch.no_grad():
        for layer, weight in zip((ours.w_q, ours.w_k, ours.w_v), reference.in_proj_weight.chunk(3), strict=True):
            layer.weight.copy_(weight)
        ours.w_o.weight.copy_(reference.out_proj.weight)
        if reference.in_proj_bias is not None:
            for layer, bias in zip((ours.w_q, ours.w_k, ours.w_v), reference.in_proj_bias.chunk(3), strict=True):
                layer.bias.copy_(bias)
            ours.w_o.bias.copy_(reference.out_proj.bias)
    return ours


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_heads", [1, 4])
def test_self_attention_equals_pytorch(bias, n_heads, loud, randn):
    reference = loud(nn.MultiheadAttention(16, n_heads, bias=bias, batch_first=True))
    ours, x = copy_of(reference, n_heads), randn(2, 5, 16)
    for mask in (None, causal_mask(5)):
        excluded = None if mask is None else ~mask
        expected, weights = reference(x, x, x, attn_mask=excluded, average_attn_weights=False)
        close(ours(x, mask=mask), expected)
        close(ours.weights(x, mask=mask), weights)
    close(ours(x, causal=True), ours(x, mask=causal_mask(5)))
    padding = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    expected, weights = reference(x, x, x, key_padding_mask=~padding, average_attn_weights=False)
    close(ours(x, mask=padding[:, None, None]), expected)
    close(ours.weights(x, mask=padding[:, None, None]), weights)


def test_cross_attention_equals_pytorch(loud, randn):
    reference = loud(nn.MultiheadAttention(16, 4, kdim=16, vdim=16, batch_first=True))
    ours, x, memory = copy_of(reference, 4), randn(2, 5, 16), randn(2, 7, 16)
    expected, weights = reference(x, memory, memory, average_attn_weights=False)
    close(ours(x, memory), expected)
    close(ours.weights(x, memory), weights)


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_grouped_heads_equal_a_loop_and_repeated_weights(n_kv_heads, loud, randn):
    ours = loud(MultiHeadAttention(16, 4, n_kv_heads=n_kv_heads, d_head=6))
    x = randn(2, 5, 16)
    q, k, v = ours.w_q(x), ours.w_k(x), ours.w_v(x)
    heads = []
    for h in range(4):
        g = h // (4 // n_kv_heads)
        mine, shared = slice(6 * h, 6 * h + 6), slice(6 * g, 6 * g + 6)
        heads.append(attention(q[..., mine], k[..., shared], v[..., shared], causal=True))
    close(ours(x, causal=True), ours.w_o(torch.cat(heads, dim=-1)))

    whole = MultiHeadAttention(16, 4, d_head=6).double()
    state = ours.state_dict()
    for name in ("w_k.weight", "w_k.bias", "w_v.weight", "w_v.bias"):
        heads = state[name].reshape(n_kv_heads, 6, *state[name].shape[1:])
        state[name] = heads.repeat_interleave(4 // n_kv_heads, dim=0).flatten(0, 1)
    whole.load_state_dict(state)
    close(ours(x, causal=True), whole(x, causal=True))


@pytest.mark.parametrize("n_kv_heads", [1, 4])
@pytest.mark.parametrize("rotary", [False, True])
def test_cached_in_uneven_chunks(n_kv_heads, rotary, loud, randn):
    ours = loud(MultiHeadAttention(16, 4, n_kv_heads=n_kv_heads, rotary=Rotary(4) if rotary else None))
    x, cache = randn(2, 9, 16), LayerCache()
    expected = ours(x, causal=True)
    chunks = [ours(chunk, causal=True, cache=cache) for chunk in x.split([1, 4, 1, 3], dim=1)]
    close(torch.cat(chunks, dim=1), expected)
    assert cache.length == 9 and cache.k.shape == (2, n_kv_heads, 9, 4)


def test_rotary_turns_queries_and_keys_but_not_values(loud, randn):
    ours = loud(MultiHeadAttention(8, 2, rotary=Rotary(4)))
    x = randn(1, 6, 8)
    q, k, v = (layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (ours.w_q, ours.w_k, ours.w_v))
    q, k = ours.rotary(q), ours.rotary(k)
    close(ours(x), ours.w_o(attention(q, k, v).transpose(1, 2).flatten(2)))
    assert (ours(x) - ours(x.roll(1, dims=1)).roll(-1, dims=1)).abs().max() > 1e-3


def test_scale_and_bias(loud, randn):
    ours = loud(MultiHeadAttention(8, 2, scale=1.0))
    x, bias = randn(1, 6, 8), randn(2, 6, 6)
    heads = [layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (ours.w_q, ours.w_k, ours.w_v)]
    close(ours(x, bias=bias), ours.w_o(attention(*heads, bias=bias, scale=1.0).transpose(1, 2).flatten(2)))


def test_dropout_only_while_training(loud, randn):
    torch.manual_seed(0)
    ours, x = loud(MultiHeadAttention(16, 4, dropout=0.5)), randn(2, 5, 16)
    assert torch.equal(ours(x), ours(x))
    ours.train()
    assert not torch.allclose(ours(x), ours(x))


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"mask": torch.ones(5, 5).tril().bool()}])
def test_weights_are_those_that_forward_uses(options, loud, randn):
    ours, x = loud(MultiHeadAttention(16, 4, n_kv_heads=2, rotary=Rotary(4))), randn(2, 5, 16)
    values = ours.w_v(x).unflatten(-1, (2, 4)).transpose(1, 2).repeat_interleave(2, dim=1)
    close(ours(x, **options), ours.w_o((ours.weights(x, **options) @ values).transpose(1, 2).flatten(2)))


def test_record_attention_in_order_of_use(loud):
    model = loud(GPT(GPTConfig(vocab_size=11, max_len=8, d_model=16, n_layers=3, n_heads=4)))
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    plain = model(ids)
    with record_attention(model) as recorded:
        close(model(ids), plain)
    assert [tuple(weights.shape) for weights in recorded] == [(1, 4, 5, 5)] * 3
    x = model.embed(ids) + model.positions(torch.arange(5))
    for block, weights in zip(model.blocks, recorded, strict=True):
        close(weights, block.self_attention.sublayer.weights(block.self_attention.norm(x), causal=True))
        assert not weights.requires_grad
        x = block(x, causal=True)
    model(ids)
    assert len(recorded) == 3  # nothing is recorded after the block


def test_compiled_and_in_bfloat16(loud, randn, compiled):
    ours, x = loud(MultiHeadAttention(16, 4, n_kv_heads=2, rotary=Rotary(4))), randn(2, 5, 16)
    close(compiled(ours)(x, causal=True), ours(x, causal=True))
    half = ours.bfloat16()(x.bfloat16(), causal=True)
    assert half.dtype == torch.bfloat16 and half.isfinite().all()
