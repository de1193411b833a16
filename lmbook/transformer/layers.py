"""What stands between the attentions: normalisation, and the network applied to each position by itself."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lmbook._checks import check_above_zero, check_choice, check_float, check_fraction, check_positive

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),  # GPT-2's approximation: Hendrycks and Gimpel 2016, sec. 2
    "silu": F.silu,
}


def layer_norm(
    x: Float[Tensor, "*batch D"],
    weight: Float[Tensor, "D"] | None = None,
    bias: Float[Tensor, "D"] | None = None,
    *,
    eps: float = 1e-5,
) -> Float[Tensor, "*batch D"]:
    """Shift and scale each vector to mean 0 and variance 1, then by the learned weight and bias.

    Computed in float32 at least. Source: Ba et al. 2016, eq. 4. Book: transformer.
    """
    _check_norm(x, weight=weight, bias=bias, eps=eps)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(-1, keepdim=True)
    normal = centred * (centred.square().mean(-1, keepdim=True) + eps).rsqrt()
    if weight is not None:
        normal = normal * weight
    if bias is not None:
        normal = normal + bias
    return normal.to(x.dtype)


def rms_norm(
    x: Float[Tensor, "*batch D"], weight: Float[Tensor, "D"] | None = None, *, eps: float = 1e-6
) -> Float[Tensor, "*batch D"]:
    """Scale each vector to root mean square 1, then by the learned weight.

    Computed in float32 at least. Source: Zhang and Sennrich 2019, eq. 4. Book: transformer.
    """
    _check_norm(x, weight=weight, bias=None, eps=eps)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    normal = wide * (wide.square().mean(-1, keepdim=True) + eps).rsqrt()
    return (normal if weight is None else normal * weight).to(x.dtype)


class LayerNorm(nn.Module):
    """``layer_norm`` with a learned weight and, unless bias is False, a learned bias.

    Source: Ba et al. 2016, eq. 4. Book: transformer.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        check_positive(d_model=d_model)
        check_above_zero(eps=eps)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        _check_last(x, len(self.weight))
        return layer_norm(x, self.weight, self.bias, eps=self.eps)


class RMSNorm(nn.Module):
    """``rms_norm`` with a learned weight.

    Source: Zhang and Sennrich 2019, eq. 4. Book: transformer.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        check_positive(d_model=d_model)
        check_above_zero(eps=eps)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        _check_last(x, len(self.weight))
        return rms_norm(x, self.weight, eps=self.eps)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, applied to each position by itself.

    Args:
        activation: relu (Vaswani et al. 2017), gelu (BERT), gelu_tanh (GPT-2) or silu.

    Source: Vaswani et al. 2017, eq. 2. Book: transformer.
    """

    def __init__(
        self, d_model: int, d_ff: int, *, activation: str = "gelu", bias: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_positive(d_model=d_model, d_ff=d_ff)
        check_choice(ACTIVATIONS, activation=activation)
        check_fraction(dropout=dropout)
        self.activation = ACTIVATIONS[activation]
        self.w_in = nn.Linear(d_model, d_ff, bias=bias)
        self.w_out = nn.Linear(d_ff, d_model, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        _check_last(x, self.w_in.in_features)
        return self.w_out(self.dropout(self.activation(self.w_in(x))))


class GatedFeedForward(nn.Module):
    """A feed-forward network whose inner layer is multiplied by a gate: SwiGLU with silu, GEGLU with gelu.

    Source: Shazeer 2020, eq. 6. Book: transformer.
    """

    def __init__(
        self, d_model: int, d_ff: int, *, activation: str = "silu", bias: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_positive(d_model=d_model, d_ff=d_ff)
        check_choice(ACTIVATIONS, activation=activation)
        check_fraction(dropout=dropout)
        self.activation = ACTIVATIONS[activation]
        self.w_gate = nn.Linear(d_model, d_ff, bias=bias)
        self.w_in = nn.Linear(d_model, d_ff, bias=bias)
        self.w_out = nn.Linear(d_ff, d_model, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        _check_last(x, self.w_in.in_features)
        return self.w_out(self.dropout(self.activation(self.w_gate(x)) * self.w_in(x)))


def keep_tied(model: nn.Module, embed: str) -> None:
    """One matrix for the embeddings and for model.unembed, also after load_state_dict(assign=True)."""
    model.unembed.weight = model.get_submodule(embed).weight
    model.register_load_state_dict_post_hook(partial(_tie_again, embed=embed))


def _tie_again(model: nn.Module, keys, *, embed: str) -> None:
    shared, own = model.get_submodule(embed).weight, model.unembed.weight
    if own is not shared:  # assign=True has given each of the two names a tensor of its own
        if own.is_meta != shared.is_meta or not own.is_meta and not torch.equal(own, shared):
            raise ValueError(f"unembed.weight must equal {embed}.weight, since the model ties them")
        model.unembed.weight = shared


def _check_norm(x: Tensor, *, weight: Tensor | None, bias: Tensor | None, eps: float) -> None:
    check_float(x=x)
    check_above_zero(eps=eps)
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and vector.shape != x.shape[-1:]:
            raise ValueError(f"{name} must have shape {tuple(x.shape[-1:])}, got {tuple(vector.shape)}")


def _check_last(x: Tensor, d_model: int) -> None:
    check_float(x=x)
    if x.ndim < 1 or x.shape[-1] != d_model:
        raise ValueError(f"x must have width d_model={d_model}, got shape {tuple(x.shape)}")
