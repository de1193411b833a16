"""The exercises of the attention chapter, four ways."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn as nn

from lmbook.exercises import WrongAnswer
from lmbook.exercises import attention as check
from lmbook.transformer import attention, causal_mask


def stub(*args): ...


def safe(x, largest=lambda x: x.max(-1, keepdim=True).values):
    powers = (x - largest(x)).exp()
    return powers / powers.sum(-1, keepdim=True)


def in_numpy(x):
    x = x.numpy().astype(np.float64)
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def in_place(x):
    x -= x.max(-1, keepdim=True).values
    x.exp_()
    x /= x.sum(-1, keepdim=True)
    return x


def padded(scores, real, hide=-torch.inf, after=True):
    mask = causal_mask(scores.shape[-1]) & real[:, None, :]
    weights = scores.masked_fill(~mask, hide).softmax(-1)
    return weights.masked_fill(~mask, 0.0) if after else weights


def plain(scores, real):
    powers = scores.exp() * (causal_mask(scores.shape[-1]) & real[:, None, :])
    return powers / powers.sum(-1, keepdim=True).clamp(min=1e-300)


def by_loop(scores, real):
    out = torch.zeros(scores.shape)  # float32
    for b, row in enumerate(real.tolist()):
        for i in range(len(row)):
            if keys := [j for j in range(i + 1) if row[j]]:
                out[b, i, keys] = scores[b, i, keys].softmax(-1).float()
    return out


def back(n_tokens):
    position = torch.arange(n_tokens)
    return position[:, None] - position


def streaming(q, keys, values, *, rescale=True, stable=True, start=-math.inf):
    largest, total, average = start, 0.0, 0.0
    for k, v in zip(keys, values, strict=True):
        score = (q @ k) / math.sqrt(len(q))
        new = max(largest, float(score)) if stable else 0.0
        shrink = math.exp(largest - new) if rescale and stable else 1.0
        total, average = total * shrink + (score - new).exp(), average * shrink + (score - new).exp() * v
        largest = new
    return average / total


def streaming_in_place(q, keys, values):
    """The average lives in the first value that was handed out, and keys are scaled where they stand."""
    average, k = next(values), next(keys)
    largest, total = float((k.mul_(len(q) ** -0.5)) @ q), 1.0
    for k, v in zip(keys, values, strict=False):
        score = float(k.mul_(len(q) ** -0.5) @ q)
        new = max(largest, score)
        average *= math.exp(largest - new)
        average += v.mul_(math.exp(score - new))
        total = total * math.exp(largest - new) + math.exp(score - new)
        largest = new
    return average / total


def streaming_in_numpy(q, keys, values):
    largest, total, average = -np.inf, 0.0, 0.0
    while (v := next(values, None)) is not None:  # the value first
        score = np.dot(q.numpy(), next(keys).numpy()) / np.sqrt(len(q))
        new = max(largest, score)
        total = total * np.exp(largest - new) + np.exp(score - new)
        average = average * np.exp(largest - new) + np.exp(score - new) * v.numpy()
        largest = new
    return average / total


def all_at_once(q, keys, values):
    return attention(q[None], torch.stack(list(keys)), torch.stack(list(values)))[0]


def collected(q, keys, values, copy=False):
    kept = [(k.clone(), v.clone()) if copy else (k, v) for k, v in zip(keys, values, strict=True)]
    return attention(q[None], *map(torch.stack, zip(*kept, strict=True)))[0]


def grown(q, keys, values):
    ks, vs = torch.empty(0, len(q)).double(), torch.empty(0, 2).double()
    for k, v in zip(keys, values, strict=True):
        ks, vs = torch.cat([ks, k[None]]), torch.cat([vs, v[None]])
    return attention(q[None], ks, vs)[0]


def listed(q, keys, values):
    kept = [(float(q @ k) / math.sqrt(len(q)), v.tolist()) for k, v in zip(keys, values, strict=True)]
    scores, vs = (torch.tensor(part).double() for part in zip(*kept, strict=True))
    return scores.softmax(-1) @ vs


def exact(n_tokens, window, width):
    keys = [min(i + 1, window) for i in range(n_tokens)]
    return sum(n * (2 * width - 1) + width * (2 * n - 1) for n in keys)


def pairs(n_tokens, window):
    full = max(n_tokens - window, 0)
    short = n_tokens - full
    return full * window + short * (short + 1) // 2


PLURAL = [[0.774, 0.008], [0.221, 0.484]]

TABLE = [
    (
        check.softmax,
        {
            "stub": stub,
            "reference": safe,
            "right": [
                lambda x: (x - x.logsumexp(-1, keepdim=True)).exp(),
                lambda x: safe(x.float()),
                in_numpy,
                in_place,
                lambda x: safe(x.double()).tolist(),
            ],
            "wrong": [
                (lambda x: x.exp() / x.exp().sum(-1, keepdim=True), "scores near 1000: exp overflows"),
                (partial(safe, largest=lambda x: x.max()), "very different size: exp overflows .* a whole row"),
                (lambda x: safe(x.mT).mT if x.ndim > 1 else safe(x), "down the columns"),
                (lambda x: x.softmax(-1), "PyTorch's softmax"),
                (lambda x: x - x.logsumexp(-1, True), "random tensor of shape .3,.: expected"),
            ],
        },
    ),
    (
        check.padded_weights,
        {
            "stub": stub,
            "reference": padded,
            "right": [
                by_loop,
                lambda s, real: padded(s, real, hide=-1e9),
                lambda s, real: padded(s, real, after=False).nan_to_num(0.0),
                lambda s, real: padded(s, real).numpy(),
            ],
            "wrong": [
                (partial(padded, after=False), "gives NaN"),
                (partial(padded, hide=-30.0, after=False), "some query looks at padding"),
                (lambda s, real: s.softmax(-1) * (causal_mask(s.shape[-1]) & real[:, None]), "does not sum to 1"),
                (lambda s, real: padded(s.mT, real).mT, "1 x 3 tokens, .*a later one"),
                (
                    lambda s, real: s.masked_fill(~(causal_mask(s.shape[-1]) & real[:, None]), -torch.inf).softmax(-2),
                    "down the columns",
                ),
                (lambda s, real: padded(s, real)[0], "expected shape"),
                (partial(padded, hide=-1e4), "expected 1 at"),
                (lambda s, real: padded(s, real) * real[..., None], "query that is padding"),
                (plain, "expected"),
            ],
        },
    ),
    (
        check.local_mask,
        {
            "stub": stub,
            "reference": lambda n, w: (back(n) >= 0) & (back(n) < w),
            "right": [
                lambda n, w: [[0 <= i - j < w for j in range(n)] for i in range(n)],
                lambda n, w: (np.tri(n, dtype=bool)) & ~np.tri(n, k=-w, dtype=bool),
            ],
            "wrong": [
                (lambda n, w: (back(n) >= 0) & (back(n) <= w), "one key too many"),
                (lambda n, w: back(n).abs() < w, "look ahead"),
                (lambda n, w: (back(n) <= 0) & (back(n) > -w), "lies ahead of it"),
                (lambda n, w: ((back(n) >= 0) & (back(n) < w)).float(), "True and False"),
            ],
        },
    ),
    (
        check.window_flops,
        {
            "stub": stub,
            "reference": lambda t, w, k: 4 * k * pairs(t, w),
            "right": [
                lambda t, w, k: 4.0 * k * sum(min(i, w) for i in range(1, t + 1)),
                lambda t, w, k: 4 * k * int(((back(t) >= 0) & (back(t) < w)).sum()),
            ],
            "wrong": [
                (lambda t, w, k: 4 * t * w * k, "first tokens have fewer"),
                (lambda t, w, k: 2 * k * pairs(t, w), "half of it"),
                (lambda t, w, k: k * pairs(t, w), "only its multiplications"),
                (exact, "by the custom of the text"),
                (lambda t, w, k: 4 * k * pairs(t, w) if w <= t else 4 * k * t * w, "4 tokens, .* the first tokens"),
            ],
        },
    ),
    (
        check.plural,
        {
            "stub": ...,
            "reference": PLURAL,
            "right": [torch.tensor(PLURAL), np.array(PLURAL) + 0.004, tuple(map(tuple, PLURAL))],
            "wrong": [
                (torch.tensor(PLURAL).T, "exchanged"),
                (PLURAL[::-1], "wrong order"),
                ([0.774, 0.221], "expected shape"),
                ([[0.51, 0.0], [0.35, 0.3]], "expected 0.7736"),
            ],
        },
    ),
    (
        check.streaming_attention,
        {
            "stub": stub,
            "reference": streaming,
            "right": [
                streaming_in_place,
                streaming_in_numpy,
                lambda q, k, v: streaming(q.float(), _float(k), _float(v)),
            ],
            "wrong": [
                (partial(streaming, stable=False), "overflow"),
                (partial(streaming, start=0.0), "6 keys, .* vanish"),
                (partial(streaming, rescale=False), "expected"),
                (all_at_once, "reads all the keys first"),
                (collected, "still in memory"),
                (lambda q, k, v: torch.stack([v for _, v in zip(k, v, strict=True)]).mean(0)[None], "expected shape"),
            ],
        },
    ),
]


def _float(rows):
    return (row.float() for row in rows)


SAME_MESSAGE = [  # as another row of the table
    (check.streaming_attention, partial(collected, copy=True), "still in memory"),
    (check.streaming_attention, grown, "still in memory"),
    (check.streaming_attention, listed, "still in memory"),
    (check.softmax, nn.Softmax(-1), "PyTorch's softmax"),
    (check.softmax, partial(safe, largest=lambda x: x.mean(-1, keepdim=True)), "very different size"),
    (check.padded_weights, lambda s, real: padded(s, torch.ones_like(real)), "padding"),
    (check.padded_weights, lambda s, real: padded(s - 20 * ~real[:, None], torch.ones_like(real)), "padding"),
]


@pytest.mark.parametrize("checker, answer, message", SAME_MESSAGE)
def test_these_are_refused_too(checker, answer, message):
    with pytest.raises(WrongAnswer, match=message):
        checker(answer)


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
