from functools import partial

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP

from lmbook.transformer import FeedForward, GatedFeedForward, LayerNorm, RMSNorm, layer_norm, rms_norm

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


@pytest.mark.parametrize("eps", [1e-12, 1e-5, 0.1])
@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 8)])
def test_norms_equal_pytorch(eps, shape, randn):
    x, weight, bias = randn(*shape) * 3 + 2, randn(8), randn(8)
    close(layer_norm(x, weight, bias, eps=eps), F.layer_norm(x, (8,), weight, bias, eps=eps))
    close(layer_norm(x, eps=eps), F.layer_norm(x, (8,), eps=eps))
    close(rms_norm(x, weight, eps=eps), F.rms_norm(x, (8,), weight, eps=eps))
    close(rms_norm(x, eps=eps), F.rms_norm(x, (8,), eps=eps))


@pytest.mark.parametrize("eps", [None, 0.1])
def test_norm_modules_equal_pytorch(eps, loud, randn):
    x = randn(2, 3, 8) * 0.1  # small, so that eps tells
    options = {} if eps is None else {"eps": eps}
    for ours, reference in (
        (LayerNorm(8, **options), torch.nn.LayerNorm(8, eps=eps or 1e-5)),
        (LayerNorm(8, bias=False, **options), torch.nn.LayerNorm(8, bias=False, eps=eps or 1e-5)),
        (RMSNorm(8, **options), torch.nn.RMSNorm(8, eps=eps or 1e-6)),
    ):
        close(ours.double()(x), reference.double()(x))  # as made: weight 1, bias 0
        loud(ours)
        reference.load_state_dict(ours.state_dict())
        close(ours(x), reference(x))


def test_norms_by_hand():
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])  # mean 3, variance (4 + 1 + 0 + 9) / 4
    torch.testing.assert_close(layer_norm(x, eps=1e-20), (x - 3) / 3.5**0.5)
    torch.testing.assert_close(rms_norm(x, eps=1e-20), x / 12.5**0.5)


@pytest.mark.parametrize("norm", [LayerNorm(512), RMSNorm(512)])
def test_norms_are_promoted_from_half_precision(norm, randn):
    x = (randn(4, 512) * 3 + 200).half()  # squares beyond the largest float16, 65504
    out = norm(x)
    assert out.dtype == torch.float16
    torch.testing.assert_close(out, norm(x.double()).half(), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_feed_forward_is_the_formula(activation, bias, loud, randn):
    ours, x = loud(FeedForward(6, 10, activation=activation, bias=bias)), randn(2, 5, 6)
    w_in, w_out = ours.w_in.weight, ours.w_out.weight
    b_in, b_out = (ours.w_in.bias, ours.w_out.bias) if bias else (0, 0)
    close(ours(x), ACTIVATIONS[activation](x @ w_in.T + b_in) @ w_out.T + b_out)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gated_feed_forward_equals_llama(activation, loud, randn):
    name = {"gelu_tanh": "gelu_pytorch_tanh"}.get(activation, activation)
    reference = loud(LlamaMLP(LlamaConfig(hidden_size=6, intermediate_size=10, num_attention_heads=1, hidden_act=name)))
    ours = GatedFeedForward(6, 10, activation=activation).double()
    ours.w_gate.weight, ours.w_in.weight = reference.gate_proj.weight, reference.up_proj.weight
    ours.w_out.weight = reference.down_proj.weight
    x = randn(2, 5, 6)
    close(ours(x), reference(x))
    assert GatedFeedForward(6, 10, bias=True).w_gate.bias is not None and ours.w_in.bias is None


@pytest.mark.parametrize("make", [FeedForward, GatedFeedForward])
def test_feed_forward_treats_each_position_by_itself(make, loud, randn):
    ours, x = loud(make(6, 10)), randn(2, 5, 6)
    changed = x.clone()
    changed[:, 2] += 1
    moved = (ours(x) != ours(changed)).any(-1)
    assert moved[:, 2].all() and moved.sum() == 2
    close(ours(x[:, 3]), ours(x)[:, 3])


@pytest.mark.parametrize("make", [FeedForward, GatedFeedForward])
def test_dropout_only_while_training(make, loud, randn):
    torch.manual_seed(0)
    ours, x = loud(make(6, 10, dropout=0.5)), randn(2, 5, 6)
    assert torch.equal(ours(x), ours(x))
    ours.train()
    assert not torch.allclose(ours(x), ours(x))


@pytest.mark.parametrize("make", [lambda: LayerNorm(6), lambda: RMSNorm(6), lambda: GatedFeedForward(6, 10)])
def test_compiled_equals_eager(make, loud, randn, compiled):
    ours, x = loud(make()), randn(2, 5, 6)
    close(compiled(ours)(x), ours(x))
