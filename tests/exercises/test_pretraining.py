"""The exercises of the pretraining chapter, four ways."""

import math

import pytest
import torch

from lmbook.exercises import pretraining as check


def stub(*args): ...


def bits(nats, n_tokens, n_bytes):
    return nats / math.log(2) * n_tokens / n_bytes


def clip(gradients, limit):
    length = torch.sqrt(sum((g**2).sum() for g in gradients))
    return [g * min(1.0, limit / length.item()) for g in gradients]


def trapezium(step, warmup, decay, total, peak):
    return peak * min(1.0, step / warmup, (total - step) / decay)


def accumulated(losses, counts):
    return sum(a * n for a, n in zip(losses, counts, strict=True)) / sum(counts)


def adamw(weights, g, m, v, t, rate, decay, b1, b2, *, corrected=True, apart=True):
    g = g if apart else g + decay * weights
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    up, down = (m / (1 - b1**t), v / (1 - b2**t)) if corrected else (m, v)
    return weights - rate * (up / (down.sqrt() + 1e-8) + (decay * weights if apart else 0)), m, v


TABLE = [
    (
        check.bits,
        {
            "stub": stub,
            "reference": bits,
            "wrong": [
                (lambda nats, n_tokens, n_bytes: nats * n_tokens / n_bytes, "nats a byte"),
                (lambda nats, n_tokens, n_bytes: nats / math.log(2) * n_bytes / n_tokens, "wrong way round"),
                (lambda nats, n_tokens, n_bytes: nats / math.log(2), "expected"),
            ],
        },
    ),
    (
        check.clip,
        {
            "stub": stub,
            "reference": clip,
            "wrong": [
                (lambda gradients, limit: [clip([g], limit)[0] for g in gradients], "by itself: they share"),
                (lambda gradients, limit: [g.clamp(-limit, limit) for g in gradients], "cut off"),
                (
                    lambda gradients, limit: [
                        g * limit / torch.sqrt(sum((h**2).sum() for h in gradients)) for g in gradients
                    ],
                    "must stay",
                ),
                (lambda gradients, limit: gradients, "expected"),
            ],
        },
    ),
    (
        check.trapezium,
        {
            "stub": stub,
            "reference": trapezium,
            "wrong": [
                (lambda step, warmup, decay, total, peak: peak * min(1.0, step / warmup), "expected"),
                (lambda step, warmup, decay, total, peak: peak * min(1.0, (total - step) / decay), "expected"),
                (lambda step, warmup, decay, total, peak: trapezium(step, warmup, decay, total + 1, peak), "expected"),
            ],
        },
    ),
    (
        check.accumulated,
        {
            "stub": stub,
            "reference": accumulated,
            "wrong": [
                (lambda losses, counts: sum(losses) / len(losses), "mean of the means"),
                (lambda losses, counts: sum(a * n for a, n in zip(losses, counts, strict=True)), "expected"),
            ],
        },
    ),
    (
        check.adamw,
        {
            "stub": stub,
            "reference": adamw,
            "wrong": [
                (lambda *args: adamw(*args, corrected=False), "weights"),
                (lambda *args: adamw(*args, apart=False), "m"),
                (lambda *args: adamw(*args)[0], "expected"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
