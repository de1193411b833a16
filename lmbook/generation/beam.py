"""Beam search: several beginnings of a text are kept instead of one."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from lmbook._checks import check_positive
from lmbook.generation._model import check_length, check_prompt, extend, new_cache, read
from lmbook.generation.sampling import check_numbers


class Hypothesis(NamedTuple):
    """A continuation, without the stop id that ended it, and its score: log-probability / length ** length_penalty.

    Book: decoding.
    """

    tokens: list[int]
    score: float


def beam_search(
    model: Callable[..., Tensor],
    ids: Int[Tensor, "1 T"],
    n_tokens: int,
    n_beams: int,
    *,
    length_penalty: float = 1.0,
    stop_ids: Collection[int] = (),
) -> list[Hypothesis]:
    """The best n_beams continuations that it finds, the best one first.

    In each step every beam is continued by every token. Of the n_beams likeliest continuations, those that end in a
    stop id are finished; the n_beams likeliest others go on. A continuation ends after n_tokens at the latest.

    With as many beams as there are continuations the result is exact. With fewer it need not be, and more beams can
    find a worse text: one that begins with an unlikely token is lost, however likely the rest would have been.

    Args:
        model: as for ``generate``, but reads up to n_beams rows.
        length_penalty: exponent of the length, stop id included. 0 compares log-probabilities, which favours short
            texts; 1 compares their mean for each token. Scores rank what is finished, never what goes on.

    Raises:
        ValueError: several prompts, fewer than 1 beam or token, more than max_len tokens to read, a negative
            length_penalty, NaN in the logits.

    Source: Sutskever et al. 2014, sec. 3.2, after Graves 2012 (search); Wu et al. 2016, sec. 7 (length ** alpha, the
    form that leads to their eq. 14; eq. 14 itself divides by ((5 + length) / 6) ** alpha). Book: decoding.
    """
    check_prompt(ids, n_tokens, stop_ids)
    check_positive(n_beams=n_beams)
    if not isinstance(length_penalty, (int, float)):
        raise TypeError(f"length_penalty must be a number, got {length_penalty!r}")
    if not 0 <= length_penalty < float("inf"):
        raise ValueError(f"length_penalty must be at least 0 and finite, got {length_penalty}")
    cache = new_cache(model)
    check_length(model, ids.shape[1], n_tokens - 1)
    n_prompt, beams, scores = ids.shape[1], ids, torch.zeros(1, device=ids.device)
    finished: list[Hypothesis] = []
    for length in range(1, n_tokens + 1):
        logits = read(model, beams, cache)[:, -1]
        check_numbers(logits)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        totals = scores[:, None] + logits.log_softmax(-1)
        # each beam can end once for each stop id: among so many there are n_beams that go on, if there are at all
        scores, places = totals.flatten().topk(min(n_beams * (1 + len(stop_ids)), totals.numel()))
        rows, tokens = places // totals.shape[-1], places % totals.shape[-1]
        ends = torch.tensor([token in stop_ids for token in tokens.tolist()], device=ids.device)
        possible = scores.isfinite()
        for i in (ends & possible)[:n_beams].nonzero().flatten():
            finished.append(_hypothesis(beams[rows[i], n_prompt:], scores[i], length**length_penalty))
        finished = sorted(finished, key=lambda hypothesis: -hypothesis.score)[:n_beams]
        go_on = (~ends & possible).nonzero().flatten()[:n_beams]
        rows, scores = rows[go_on], scores[go_on]
        beams = extend(beams[rows], tokens[go_on])
        best = max(scores.tolist(), default=-torch.inf) / n_tokens**length_penalty  # that a beam can still come to
        if len(finished) == n_beams and best <= finished[-1].score or not len(beams):
            return finished
        cache.select(rows)
    for beam, score in zip(beams, scores, strict=True):
        finished.append(_hypothesis(beam[n_prompt:], score, n_tokens**length_penalty))
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)[:n_beams]


def _hypothesis(tokens: Tensor, score: Tensor, divisor: float) -> Hypothesis:
    return Hypothesis(tokens.tolist(), float(score) / divisor)
