"""Span corruption, the objective of T5, and the inputs of a decoder."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Generator, Tensor

from lmbook._checks import check_fraction
from lmbook.pretraining.objectives import IGNORE, check_tokens


def span_corruption(
    tokens: Int[Tensor, "B T"],
    *,
    sentinel_ids: Sequence[int],
    rate: float = 0.15,
    mean_span: float = 3.0,
    generator: Generator | None = None,
) -> tuple[Int[Tensor, "B S"], Int[Tensor, "B L"]]:
    """Spans of tokens give way to a sentinel each; the target is what they were, each span after its sentinel.

    One more sentinel ends the target. The number of tokens taken out, round(rate · T), and of spans, that divided by
    mean_span, depend on the length alone, so that all rows of a batch keep one length. As in the published code, a
    sequence starts with text and ends with a span, and all ways to cut the two are equally likely.

    Args:
        sentinel_ids: one token for each span and one for the end, none of which is in the text.

    Source: Raffel et al. 2020 (T5), sec. 3.1.4 and 3.3.4, fig. 2. Book: objectives.
    """
    check_tokens(tokens, least=2)
    check_fraction(rate=rate)
    if not mean_span >= 1:
        raise ValueError(f"mean_span must be at least 1, got {mean_span}")
    length = tokens.shape[1]
    n_noise = min(max(round(length * rate), 1), length - 1)
    n_spans = min(max(round(n_noise / mean_span), 1), length - n_noise)
    sentinels = torch.tensor(list(sentinel_ids), dtype=tokens.dtype, device=tokens.device)
    if len(set(sentinel_ids)) <= n_spans or len(set(sentinel_ids)) < len(sentinels):
        raise ValueError(f"sentinel_ids must be at least {n_spans + 1} different tokens, got {list(sentinel_ids)}")
    if torch.isin(tokens, sentinels).any():
        raise ValueError("tokens must not hold any of sentinel_ids")
    inputs, targets = [], []
    for row in tokens:
        text, noise = (_cut(n, n_spans, generator, tokens.device) for n in (length - n_noise, n_noise))
        pieces = row.split([size for pair in zip(text, noise, strict=True) for size in pair])
        inputs += [part for i in range(n_spans) for part in (pieces[2 * i], sentinels[i : i + 1])]
        targets += [part for i in range(n_spans) for part in (sentinels[i : i + 1], pieces[2 * i + 1])]
        targets.append(sentinels[n_spans : n_spans + 1])
    return torch.cat(inputs).view(len(tokens), -1), torch.cat(targets).view(len(tokens), -1)


def shift_right(targets: Int[Tensor, "B T"], start_id: int) -> Int[Tensor, "B T"]:
    """What a decoder sees while it says the targets: start_id, then all targets but the last.

    Source: Vaswani et al. 2017, sec. 3.1 and fig. 1 (outputs shifted right). Book: objectives.
    """
    check_tokens(targets, name="targets")
    return F.pad(targets[:, :-1], (1, 0), value=start_id).where(F.pad(targets[:, :-1], (1, 0)) != IGNORE, start_id)


def _cut(n_items: int, n_parts: int, generator: Generator | None, device: torch.device) -> list[int]:
    """Sizes of n_parts parts, none empty, that make up n_items; every way to cut is equally likely."""
    cuts = torch.randperm(n_items - 1, generator=generator, device=device)[: n_parts - 1].sort().values + 1
    return torch.diff(F.pad(F.pad(cuts, (1, 0)), (0, 1), value=n_items)).tolist()
