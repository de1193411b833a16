"""Learning rates as functions of the step, and which weights decay."""

import math

import torch.nn as nn

from lmbook._checks import check_above_zero, check_positive
from lmbook.transformer.positions import LearnedPositions, RelativeBias


def warmup_cosine(step: int, *, warmup: int, total: int, peak: float, floor: float = 0.0) -> float:
    """Learning rate that rises linearly to its peak in `warmup` steps and falls along a cosine to its floor at `total`.

    It stays at the floor from then on. Steps count from 1, as in `train`; at 0 the rate is 0.

    Source: Loshchilov and Hutter 2017 (SGDR), eq. 5, after the warm-up of Goyal et al. 2017. Book: pretraining.
    """
    done = _progress(step, warmup, total, peak, floor)
    return peak * step / warmup if done < 0 else floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2


def warmup_linear(step: int, *, warmup: int, total: int, peak: float, floor: float = 0.0) -> float:
    """Learning rate that rises linearly to its peak in `warmup` steps and falls linearly to its floor at `total`.

    Source: Devlin et al. 2019 (BERT), appendix A.2. Book: pretraining.
    """
    done = _progress(step, warmup, total, peak, floor)
    return peak * step / warmup if done < 0 else floor + (peak - floor) * (1 - done)


def warmup_stable_decay(step: int, *, warmup: int, decay: int, total: int, peak: float, floor: float = 0.0) -> float:
    """Learning rate that rises linearly, stays at its peak, and falls linearly to its floor.

    The fall takes the last `decay` steps, so that a run is prolonged by going on from
    where it began, at a level that no earlier choice of `total` has changed.

    Source: Hu et al. 2024 (MiniCPM), section 4; the linear fall of Hägele et al. 2024.
    Book: pretraining.
    """
    if not 0 < decay <= total - warmup:
        raise ValueError(f"decay must be from 1 to total - warmup = {total - warmup}, got {decay}")
    _progress(step, warmup, total, peak, floor)  # refuses what it cannot use
    if step < warmup:
        return peak * step / warmup
    return floor + (peak - floor) * min(1.0, max(total - step, 0) / decay)


def _progress(step: int, warmup: int, total: int, peak: float, floor: float) -> float:
    """Share of the decay that is done, in [0, 1]; negative during the warm-up."""
    check_positive(total=total)
    check_above_zero(peak=peak)
    if step < 0:
        raise ValueError(f"step must be at least 0, got {step}")
    if not 0 <= warmup < total:
        raise ValueError(f"warmup must be from 0 to total - 1 = {total - 1}, got {warmup}")
    if not 0 <= floor <= peak:
        raise ValueError(f"floor must be from 0 to peak={peak}, got {floor}")
    return -1.0 if step < warmup else min((step - warmup) / (total - warmup), 1.0)


def weight_decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Parameter groups for an optimizer: matrices decay; biases, norms and embeddings do not.

    Embeddings are the tokens', segments' and learned positions' vectors and T5's biases: a rare token gets few
    gradients and would fade away under a decay that comes at every step. A matrix that is tied to the embeddings counts
    once, as an embedding. Frozen parameters are left out. nanoGPT and the published code of BERT
    decay embeddings too.

    Source: Loshchilov and Hutter 2019 (AdamW); Devlin et al. 2019, published code, for biases and norms.
    Book: pretraining.
    """
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
    tables = (nn.Embedding, LearnedPositions, RelativeBias)
    embeddings = {id(table.weight) for table in model.modules() if isinstance(table, tables)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("model must have parameters that require a gradient, got none")
    decay = [parameter for parameter in trained if parameter.ndim >= 2 and id(parameter) not in embeddings]
    rest = [parameter for parameter in trained if parameter.ndim < 2 or id(parameter) in embeddings]
    groups = [{"params": decay, "weight_decay": float(weight_decay)}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
