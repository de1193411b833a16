"""One next token from logits: temperature, filters, draw."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmbook.generation import filters


def distribution(
    logits: Float[Tensor, "*B V"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Float[Tensor, "*B V"]:
    """Probabilities with which ``sample`` draws each token.

    The logits are divided by the temperature and then filtered by top_k, top_p and min_p in this order, which is
    that of transformers. At temperature 0 the likeliest token has probability 1.

    Raises:
        ValueError: a negative temperature; a top_k below 1, a top_p or min_p outside (0, 1]; NaN, +inf, or -inf for
            every token, in the logits.

    Source: softmax(logits / temperature): Holtzman et al. 2020, eq. 4; for two states Ackley et al. 1985, eq. 5.
    Book: decoding.
    """
    check_numbers(logits)
    if not isinstance(temperature, (int, float)):
        raise TypeError(f"temperature must be a number, got {temperature!r} ({type(temperature).__name__})")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be at least 0 and finite, got {temperature}")
    filters.check_options(top_k, top_p, min_p)  # at temperature 0, too, where none of them changes anything
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    below_best = logits - logits.amax(-1, keepdim=True)  # at most 0: nothing overflows, however cold it is
    logits = below_best / max(temperature, torch.finfo(logits.dtype).tiny)
    if top_k is not None:
        logits = filters.top_k(logits, top_k)
    if top_p is not None:
        logits = filters.top_p(logits, top_p)
    if min_p is not None:
        logits = filters.min_p(logits, min_p)
    return logits.softmax(-1)


def sample(
    logits: Float[Tensor, "*B V"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "*B"]:
    """Draw one token from each row's ``distribution``, which documents the arguments.

    Source: Fan et al. 2018, sec. 5.4; Holtzman et al. 2020, sec. 3. Book: decoding.
    """
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    probabilities = distribution(logits, **options)
    if temperature == 0:
        return probabilities.argmax(-1)
    return draw(probabilities, generator)


def check_numbers(logits: Tensor) -> None:
    """Refuse logits that have no softmax."""
    filters.check_logits(logits)
    if not logits.amax(-1).isfinite().all():
        nans, infinite = int(logits.isnan().sum()), int((logits == torch.inf).sum())
        found = f"{nans} NaN and {infinite} +inf of {logits.numel()}"
        raise ValueError(f"logits must be numbers, none of them +inf and not all -inf, got {found}")


def draw(weights: Float[Tensor, "*B V"], generator: torch.Generator | None) -> Int[Tensor, "*B"]:
    """One token for each row, with probabilities in proportion to the weights."""
    rows = weights.reshape(-1, weights.shape[-1])
    return torch.multinomial(rows, 1, generator=generator).reshape(weights.shape[:-1])
