import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from lmbook.transformer import attention, attention_weights, causal_mask, fast_attention

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
both = pytest.mark.parametrize("attend", [attention, fast_attention])


@both
@pytest.mark.parametrize("batch", [(), (3,), (2, 4)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_equals_pytorch(attend, batch, causal, scale, randn):
    q, k, v = randn(*batch, 5, 8), randn(*batch, 5, 8), randn(*batch, 5, 6)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    close(attend(q, k, v, causal=causal, scale=scale), expected)


@both
@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 1), (5, 7), (4, 5, 7), (2, 1, 1, 7), (1, 4, 5, 7), (2, 1, 5, 7)])
def test_masks_broadcast(attend, shape, randn):
    q, k, v = randn(2, 4, 5, 8), randn(2, 4, 7, 8), randn(2, 4, 7, 8)
    mask = randn(*shape) > -0.5
    mask[..., 0] = True
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.expand(2, 4, 5, 7))
    close(attend(q, k, v, mask), expected)


@both
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_bias_is_added_to_the_scaled_scores(attend, masked, causal, randn):
    q, k, v, bias = randn(2, 4, 5, 8), randn(2, 4, 7, 8), randn(2, 4, 7, 8), randn(4, 5, 7)
    mask = randn(5, 7) > 0 if masked else torch.ones(5, 7, dtype=torch.bool)
    mask[:, 0] = True
    allowed = mask.clone()
    for i in range(5):
        for j in range(7):
            allowed[i, j] &= not causal or j <= i + 2
    scores = torch.einsum("bhtk,bhsk->bhts", q, k) * 0.4 + bias
    expected = scores.masked_fill(~allowed, -1e300).softmax(-1) @ v
    close(attend(q, k, v, mask if masked else None, causal=causal, bias=bias, scale=0.4), expected)


@both
def test_hand_values(attend):
    log3 = math.log(3)
    q = torch.ones(1, 4)
    k = torch.tensor([[0.0] * 4, [log3 / 2] * 4])  # products 0 and 2 log 3; over sqrt(4): 0 and log 3
    v = torch.tensor([[4.0], [8.0]])
    torch.testing.assert_close(attention_weights(q, k), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(attend(q, k, v), torch.tensor([[7.0]]))
    zeros, v = torch.zeros(3, 2), torch.tensor([[1.0], [2.0], [6.0]])
    torch.testing.assert_close(attend(zeros, zeros, v, causal=True), torch.tensor([[1.0], [1.5], [3.0]]))
    torch.testing.assert_close(attend(zeros[:2], zeros, v, causal=True), torch.tensor([[1.5], [3.0]]))
    mask = torch.tensor([[True, False, True]])
    torch.testing.assert_close(attend(zeros, zeros, v, mask), torch.full((3, 1), 3.5))


def test_weights_are_shares(randn):
    weights = attention_weights(randn(2, 5, 8), randn(2, 7, 8), causal=True)
    close(weights.sum(-1), torch.ones(2, 5).double())
    assert (weights[:, ~causal_mask(5, 7)] == 0).all() and (weights[:, causal_mask(5, 7)] > 0).all()


@both
@pytest.mark.parametrize("with_bias", [False, True])
def test_a_query_that_may_look_at_nothing_gets_zeros_and_finite_gradients(attend, with_bias, randn):
    q, k, v = (randn(2, 3, 4).requires_grad_() for _ in range(3))
    mask = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    bias = randn(3, 3).requires_grad_() if with_bias else None
    out = attend(q, k, v, mask, bias=bias)
    assert (out[:, 1] == 0).all()
    seeing = torch.tensor([0, 2])
    bias_rows = None if bias is None else bias[seeing]
    close(out[:, seeing], attend(q[:, seeing], k, v, mask[seeing], bias=bias_rows))
    out.square().sum().backward()
    for tensor in (q, k, v, bias) if with_bias else (q, k, v):
        assert tensor.grad.isfinite().all()
    assert (q.grad[:, 1] == 0).all()


@both
def test_gradients(attend, randn):
    q, k, v, bias = randn(2, 3, 4), randn(2, 4, 4), randn(2, 4, 5), randn(3, 4)
    mask = torch.tensor([[True, True, False, True], [False] * 4, [True] * 4])
    inputs = [tensor.requires_grad_() for tensor in (q, k, v, bias)]
    assert torch.autograd.gradcheck(lambda q, k, v, b: attend(q, k, v, mask, causal=True, bias=b), inputs)


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_promoted_for_the_softmax(attend, dtype, randn):
    """Within the rounding of inputs and outputs: 2000 weights summed in half precision would be far off."""
    q, k, v = (randn(1, 2000, 16).to(dtype) for _ in range(3))
    weights = attention_weights(q, k)
    assert weights.dtype == dtype
    scores = q.double() @ k.double().mT * 0.25
    torch.testing.assert_close(weights.double(), scores.softmax(-1), rtol=2 * torch.finfo(dtype).eps, atol=1e-7)
    out = attend(q, k, v)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), attention(q.double(), k.double(), v.double()), rtol=0.05, atol=0.01)


def test_a_wide_bias_does_not_pass_through_half_precision_in_the_softmax():
    q = k = torch.zeros(1, 4, 8, dtype=torch.bfloat16)
    bias = 300.0 + torch.tensor([0.0, 0.5, 1.0, 1.5])  # in bfloat16 all of these are 300 or 302
    weights = attention_weights(q, k, bias=bias)
    torch.testing.assert_close(weights[0, 0].float(), (bias - 300).softmax(-1), rtol=0.01, atol=0)


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_scores_beyond_the_end_of_float16(attend, dtype, masked):
    """q·k = ±115200 > 65504; scaled ±10182, so that the two equal keys share the attention."""
    q = torch.full((1, 128), 30.0, dtype=dtype)
    k, v = torch.stack([q[0], -q[0], q[0]]), torch.eye(3, dtype=dtype)
    mask = torch.tensor([[True, False, True]]) if masked else None
    half = torch.tensor([[0.5, 0.0, 0.5]], dtype=dtype)
    assert torch.equal(attention_weights(q, k, mask), half)
    assert torch.equal(attend(q, k, v, mask), half)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_only_at_the_end(dtype, randn):
    """Scores of about 30: rounded to half precision, the weights would be off by 1 % and more."""
    q, k = (4 * randn(1, 40, 16)).to(dtype), (4 * randn(1, 40, 16)).to(dtype)
    expected = attention_weights(q.double(), k.double())
    torch.testing.assert_close(attention_weights(q, k).double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-6)


@both
@pytest.mark.parametrize("masked", [False, True])
def test_a_bias_of_minus_infinity_is_a_mask(attend, masked, randn):
    q, k, v = (randn(2, 3, 4).requires_grad_() for _ in range(3))
    mask = torch.tensor([[True, False, True], [True, False, False], [True, True, True]])
    bias = torch.zeros(3, 3).double().masked_fill(~mask, -torch.inf)
    bias[1] = -torch.inf
    mask[1] = False
    also = torch.tensor([True, True, False]) if masked else None
    out = attend(q, k, v, also, bias=bias)
    close(out, attend(q, k, v, mask if also is None else mask & also))
    assert (out[:, 1] == 0).all()
    assert (attention_weights(q, k, also, bias=bias)[:, 1] == 0).all()
    out.square().sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in (q, k, v))


@both
def test_a_mask_and_a_bias_that_leave_nothing_together(attend, randn):
    q, k, v = randn(1, 4), randn(2, 4), randn(2, 4)
    mask, bias = torch.tensor([[True, False]]), torch.tensor([[-torch.inf, 0.0]]).double()
    assert torch.equal(attend(q, k, v, mask, bias=bias), torch.zeros(1, 4).double())


def test_dropout_drops_and_scales_up(randn):
    torch.manual_seed(0)
    q = k = torch.zeros(1, 200, 4).double()
    out = fast_attention(q, k, torch.eye(200).double()[None], dropout=0.25)
    kept = out > 0
    assert 0.73 < kept.double().mean() < 0.77
    close(out[kept], torch.full_like(out[kept], 1 / 200 / 0.75))


def test_arguments_stay_as_they_were(randn):
    q, k, v, mask, bias = randn(3, 4), randn(3, 4), randn(3, 4), randn(3, 3) > 0, randn(3, 3)
    before = [tensor.clone() for tensor in (q, k, v, mask, bias)]
    attention(q, k, v, mask, causal=True, bias=bias)
    fast_attention(q, k, v, mask, causal=True, bias=bias)
    assert all(torch.equal(a, b) for a, b in zip(before, (q, k, v, mask, bias), strict=True))


@both
def test_compiled_and_meta(attend, randn, compiled):
    q, k, v, mask = randn(2, 5, 8), randn(2, 7, 8), randn(2, 7, 8), randn(5, 7) > 0
    close(compiled(attend, "aot_eager")(q, k, v, mask, causal=True), attend(q, k, v, mask, causal=True))
    on_meta = attend(*(tensor.to("meta") for tensor in (q, k, v, mask)), causal=True)
    assert on_meta.shape == (2, 5, 8) and on_meta.is_meta


@both
def test_on_the_device(attend, device, randn):
    q, k, v, mask = (tensor.to(device) for tensor in (randn(2, 5, 8), randn(2, 7, 8), randn(2, 7, 8), randn(5, 7) > 0))
    out = attend(q, k, v, mask, causal=True)
    assert out.device.type == device.type
    close(out.cpu(), attention(q.cpu(), k.cpu(), v.cpu(), mask.cpu(), causal=True))
