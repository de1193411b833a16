"""The exercises of the attention chapter, four ways."""

import math

import pytest
import torch

from lmbook.exercises import attention as check


def stub(*args): ...


def streaming(q, keys, values, *, rescale=True, stable=True):
    largest, total, average = -math.inf if stable else 0.0, 0.0, 0.0
    for k, v in zip(keys, values, strict=True):
        score = (q @ k) / math.sqrt(len(q))
        new = max(largest, float(score)) if stable else 0.0
        shrink = math.exp(largest - new) if rescale else 1.0
        total, average = total * shrink + (score - new).exp(), average * shrink + (score - new).exp() * v
        largest = new
    return average / total


def causal(scores):
    return scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf).softmax(-1)


def back(n_tokens):
    position = torch.arange(n_tokens)
    return position[:, None] - position


TABLE = [
    (
        check.softmax,
        {
            "stub": stub,
            "reference": lambda x: (x - x.max(-1, keepdim=True).values).softmax(-1),
            "wrong": [
                (lambda x: x.exp() / x.exp().sum(-1, keepdim=True), "overflows"),
                (lambda x: x.softmax(0), "down the columns"),
                (lambda x: x - x.logsumexp(-1, keepdim=True), "expected"),
            ],
        },
    ),
    (
        check.causal_weights,
        {
            "stub": stub,
            "reference": causal,
            "wrong": [
                (lambda s: s.softmax(-1).tril(), "does not sum to 1"),
                (
                    lambda s: s.masked_fill(torch.ones_like(s).tril(-1).bool(), -torch.inf).softmax(-1),
                    "wrong way round",
                ),
                (lambda s: s.softmax(-1), "expected"),
            ],
        },
    ),
    (
        check.local_mask,
        {
            "stub": stub,
            "reference": lambda n, w: (back(n) >= 0) & (back(n) < w),
            "wrong": [
                (lambda n, w: (back(n) >= 0) & (back(n) <= w), "one key too many"),
                (lambda n, w: back(n).abs() < w, "look ahead"),
                (lambda n, w: ((back(n) >= 0) & (back(n) < w)).float(), "True and False"),
            ],
        },
    ),
    (
        check.flops,
        {
            "stub": stub,
            "reference": lambda t, s, k: 4 * t * s * k,
            "wrong": [
                (lambda t, s, k: 2 * t * s * k, "half of it"),
                (lambda t, s, k: t * s * k, "only its multiplications"),
            ],
        },
    ),
    (
        check.streaming_attention,
        {
            "stub": stub,
            "reference": streaming,
            "wrong": [
                (lambda q, k, v: streaming(q, k, v, stable=False), "overflow"),
                (lambda q, k, v: streaming(q, k, v, rescale=False), "expected"),
                (lambda q, k, v: torch.stack(list(v)).mean(0), "expected"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
