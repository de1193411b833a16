"""Muon: steps of one length in every direction of a matrix, by a few matrix products in place of an SVD."""

from collections import defaultdict
from collections.abc import Iterable

import torch
import torch.nn as nn
from jaxtyping import Float
from torch import Tensor

from lmbook._checks import check_fraction
from lmbook.pretraining.schedule import weight_decay_groups


def orthogonalise(matrices: Float[Tensor, "*N M K"]) -> Float[Tensor, "*N M K"]:
    """Each matrix with its singular vectors kept and its singular values brought near 1.

    Five rounds of x <- a x + b (x x^T) x + c (x x^T)^2 x, which change each singular
    value alone, s <- a s + b s^3 + c s^5, and bring all from 0.01 to 1 into 0.6 to 1.3.
    Before them, each matrix is divided by its length. Zeros stay zeros.

    Source: Jordan et al. 2024 (Muon), Newton-Schulz iteration. Book: pretraining.
    """
    if matrices.ndim < 2 or not matrices.is_floating_point():
        got = f"{matrices.dtype} of shape {tuple(matrices.shape)}"
        raise TypeError(f"matrices must be real, with two axes or more, got {got}")
    tall = matrices.shape[-2] > matrices.shape[-1]  # x x^T is smaller on the other side
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.AdamW):
    """Muon for weight matrices and AdamW for all else, under one learning rate.

    A matrix moves against its smoothed gradient, orthogonalised, times
    0.2 · sqrt(longer side). That gives its step about the root mean square of one of
    AdamW's, so that both can share a rate and a decay.

    Args:
        groups: as for AdamW. Those with a "momentum" hold matrices, for Muon; it is the
            memory of the gradient's mean, and the step looks ahead by it (Nesterov).

    Source: Jordan et al. 2024 (Muon); Liu et al. 2025 (Moonlight), section 2.2, for the
    length of the step. Book: pretraining.
    """

    def __init__(self, groups: Iterable[dict], **options) -> None:
        super().__init__(groups, **options)
        for group in self.param_groups:
            if "momentum" in group:
                check_fraction(momentum=group["momentum"])
                shapes = [tuple(matrix.shape) for matrix in group["params"]]
                if wrong := [shape for shape in shapes if len(shape) != 2]:
                    raise ValueError(f"matrices must have two axes, got shape {wrong[0]}")

    @torch.no_grad()
    def step(self, closure=None):
        """AdamW's step, after that of the matrices, which have no gradient meanwhile."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = [group for group in self.param_groups if "momentum" in group]
        matrices = [m for group in groups for m in group["params"] if m.grad is not None]
        gradients = [matrix.grad for matrix in matrices]
        for group in groups:
            self._turn(group)
        for matrix in matrices:
            matrix.grad = None
        super().step()
        for matrix, gradient in zip(matrices, gradients, strict=True):
            matrix.grad = gradient
        return loss

    def _turn(self, group: dict) -> None:
        """Muon's step. Matrices of one shape are multiplied together: fewer calls."""
        momentum, alike = group["momentum"], defaultdict(list)
        for matrix in group["params"]:
            if matrix.grad is not None:
                alike[matrix.shape].append(matrix)
        for shape, matrices in alike.items():
            ahead = []
            for matrix in matrices:
                state = self.state[matrix]
                if not state:
                    state["step"] = torch.zeros((), device=matrix.device)
                    state["exp_avg"] = torch.zeros_like(matrix)
                state["step"] += 1
                state["exp_avg"].lerp_(matrix.grad, 1 - momentum)
                ahead.append(matrix.grad.lerp(state["exp_avg"], momentum))
            rate = group["lr"] * 0.2 * max(shape) ** 0.5
            steps = orthogonalise(torch.stack(ahead))
            for matrix, step in zip(matrices, steps, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.sub_(step, alpha=rate)


def muon(
    model: nn.Module,
    *,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    momentum: float = 0.95,
) -> Muon:
    """Muon for the matrices of a model's layers; AdamW for embeddings, the output, biases and norms.

    Args:
        betas: of AdamW. The rate is 0 until `train` sets it at each step.

    Book: pretraining.
    """
    output = getattr(getattr(model, "unembed", None), "weight", None)
    decaying, *others = weight_decay_groups(model, 1.0)  # embeddings never decay
    if not decaying["weight_decay"]:
        raise ValueError("model must have matrices other than embeddings, got none")
    matrices = [p for p in decaying["params"] if p.ndim == 2 and p is not output]
    rest = [p for p in decaying["params"] if p.ndim != 2 or p is output]
    groups = [{"params": matrices, "weight_decay": weight_decay, "momentum": momentum}]
    groups += [{"params": rest, "weight_decay": weight_decay}] if rest else []
    return Muon([*groups, *others], lr=0.0, betas=betas)
