"""Which tokens may come next: each filter takes logits and returns new ones, -inf where a token is ruled out."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmbook._checks import check_above_zero, check_float, check_integers, check_positive, check_range


def top_k(logits: Float[Tensor, "*B V"], k: int) -> Float[Tensor, "*B V"]:
    """Keep the k likeliest tokens, and any that tie with the last of them.

    Source: Fan et al. 2018, sec. 5.4, with k = 10. Book: decoding.
    """
    check_logits(logits)
    check_positive(k=k)
    kth = logits.topk(min(k, logits.shape[-1])).values[..., -1:]
    return logits.masked_fill(logits < kth, -torch.inf)


def top_p(logits: Float[Tensor, "*B V"], p: float) -> Float[Tensor, "*B V"]:
    """Keep the nucleus: the likeliest tokens, as few of them as have together a probability of at least p.

    Source: Holtzman et al. 2020, eq. 2. Book: decoding.
    """
    check_logits(logits)
    _check_share(p=p)
    ranked, order = _promote(logits).sort(descending=True, stable=True)
    from_here_on = ranked.softmax(-1).flip(-1).cumsum(-1).flip(-1)  # sums from the small end keep their digits
    out = from_here_on <= 1 - p  # those before this token reach p without it
    out[..., 0] = False
    return logits.masked_fill(torch.zeros_like(out).scatter(-1, order, out), -torch.inf)


def min_p(logits: Float[Tensor, "*B V"], p: float) -> Float[Tensor, "*B V"]:
    """Keep the tokens that are at least p times as likely as the likeliest one.

    Source: Nguyen et al. 2024, where the threshold is p times the largest probability. Book: decoding.
    """
    check_logits(logits)
    _check_share(p=p)
    scores = _promote(logits)
    return logits.masked_fill(scores < scores.amax(-1, keepdim=True) + math.log(p), -torch.inf)


def repetition_penalty(
    logits: Float[Tensor, "*B V"], ids: Int[Tensor, "*B T"], penalty: float
) -> Float[Tensor, "*B V"]:
    """Make the tokens that stand in ids less likely (penalty > 1) or likelier (penalty < 1); no matter how often.

    A logit above 0 is divided by the penalty, as in the source. One below 0 is multiplied by it, as in
    transformers: to divide it would make the token likelier.

    Source: Keskar et al. 2019 (CTRL), sec. 4.1, with penalty 1.2. Book: decoding.
    """
    check_logits(logits)
    check_integers(ids)
    check_above_zero(penalty=penalty)
    if ids.shape[:-1] != logits.shape[:-1]:
        shapes = f"{tuple(ids.shape)} and {tuple(logits.shape)}"
        raise ValueError(f"ids must differ from logits in the last axis only, got shapes {shapes}")
    if ids.numel():
        check_range(ids, logits.shape[-1])
    ids = ids.long()
    seen = logits.gather(-1, ids)
    return logits.scatter(-1, ids, torch.where(seen < 0, seen * penalty, seen / penalty))


def _promote(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def check_logits(logits: Tensor) -> None:
    check_float(logits=logits)
    if logits.ndim == 0 or 0 in logits.shape:
        raise ValueError(f"logits must be (..., V) and not empty, got shape {tuple(logits.shape)}")


def check_options(top_k: int | None, top_p: float | None, min_p: float | None) -> None:
    """Refuse what the filters would refuse, by the names that these have as options; None is no filter."""
    if top_k is not None:
        check_positive(top_k=top_k)
    _check_share(**{name: p for name, p in [("top_p", top_p), ("min_p", min_p)] if p is not None})


def _check_share(**shares: float) -> None:
    for name, p in shares.items():
        if not isinstance(p, (int, float)):
            raise TypeError(f"{name} must be a number, got {p!r} ({type(p).__name__})")
        if not 0 < p <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, got {p}")
