"""The exercises of the pretraining chapter, four ways."""

import math

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from lmbook.exercises import pretraining as check


def stub(*args): ...


def bits(nats, n_tokens, n_bytes):
    return nats / math.log(2) * n_tokens / n_bytes


def accumulated(losses, counts):
    return sum(a * n for a, n in zip(losses, counts, strict=True)) / sum(counts)


def state_bytes(model, *, trained=4, frozen=1, parameters=None):
    parameters = model.parameters() if parameters is None else parameters
    return sum(p.numel() * p.element_size() * (trained if p.requires_grad else frozen) for p in parameters)


def named_twice(model):
    return state_bytes(model, parameters=[p for _, p in model.named_parameters(remove_duplicate=False)])


def scaled(factor, *, make=None, seen=1.0, before=None, rate=0.05):
    """Fit eight points by a line under AdamW; the loss begins near 1 and ends near 0."""
    torch.manual_seed(0)
    line, x = nn.Linear(2, 1), torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    y = x @ torch.tensor([[1.0], [-2.0]])
    optimizer = (make or torch.optim.AdamW)(line.parameters(), lr=rate)
    for _ in range(20):
        loss = F.mse_loss(line(x), y)
        optimizer.zero_grad()
        (loss * factor).backward()
        if before:
            before(line.parameters())
        optimizer.step()
    return loss.item() * seen


def how_far(model, ids):
    before, found = model(ids), 0
    for j in range(1, ids.shape[1]):
        changed = ids.clone()
        changed[:, j] = (changed[:, j] + 1) % 9
        moved = (model(changed) != before).any(-1).any(0)[:j].nonzero()
        if len(moved):
            found = max(found, j - int(moved[0]))
    return found


def how_far_by_gradient(model, ids):
    """Another way: each position alone, and each later token replaced by every other one."""
    n = ids.shape[1]
    pairs = [
        (j - i)
        for i in range(n)
        for j in range(i, n)
        for id in range(9)
        if not torch.equal(model(ids.index_fill(1, torch.tensor([j]), id))[:, i], model(ids)[:, i])
    ]
    return torch.tensor(max([0, *pairs]))


def last_token_only(model, ids):
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 9
    moved = (model(changed) != model(ids)).any(-1).any(0)[:-1].nonzero()
    return ids.shape[1] - 1 - int(moved[0]) if len(moved) else 0


def best_weight(log_p, log_q):
    """Expectation-maximisation."""
    w = torch.tensor(0.5, dtype=torch.float64)
    for _ in range(5000):
        both = torch.logaddexp(w.log() + log_p, (1 - w).log() + log_q)
        w = (w.log() + log_p - both).exp().mean().clamp(1e-12, 1 - 1e-12)
    return w.item()


def best_on_a_grid(log_p, log_q):
    w = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None]
    return w[:, 0][torch.logaddexp(w.log() + log_p, (1 - w).log() + log_q).mean(-1).argmax()]


def best_in_plain_numbers(log_p, log_q):
    w = 0.5
    for _ in range(2000):
        p, q = w * log_p.exp(), (1 - w) * log_q.exp()
        w = (p / (p + q)).mean()
    return w


TABLE = [
    (
        check.bits_a_byte,
        {
            "stub": stub,
            "reference": bits,
            "right": [lambda *all: torch.tensor(bits(*all)), lambda a, b, c: np.float64(a) * np.log2(np.e) * b / c],
            "wrong": [
                (lambda nats, n_tokens, n_bytes: nats * n_tokens / n_bytes, "nats a byte"),
                (lambda nats, n_tokens, n_bytes: nats / math.log(2) * n_bytes / n_tokens, "wrong way round"),
                (lambda nats, n_tokens, n_bytes: nats / math.log(2), "expected"),
            ],
        },
    ),
    (
        check.accumulated,
        {
            "stub": stub,
            "reference": accumulated,
            "right": [
                lambda losses, counts: float(np.average(losses, weights=counts)),
                lambda losses, counts: torch.tensor(losses) @ torch.tensor(counts).float() / sum(counts),
                lambda losses, counts: sum(losses.pop() * counts[len(losses)] for _ in counts) / sum(counts),
            ],
            "wrong": [
                (lambda losses, counts: sum(losses) / len(losses), "mean of the means"),
                (lambda losses, counts: sum(a * n for a, n in zip(losses, counts, strict=True)), "expected"),
                (lambda losses, counts: losses[0], "expected 2.5, got 2"),
            ],
        },
    ),
    (
        check.state_bytes,
        {
            "stub": stub,
            "reference": state_bytes,
            "right": [
                lambda model: float(state_bytes(model)),
                lambda model: torch.tensor(state_bytes(model)),
                lambda model: sum(
                    p.nbytes * (1 + 3 * p.requires_grad) for p in {id(p): p for p in model.parameters()}.values()
                ),
            ],
            "wrong": [
                (named_twice, "one matrix"),
                (
                    lambda model: sum(p.numel() * (16 if p.requires_grad else 4) for p in model.parameters()),
                    "16 bytes for",
                ),
                (lambda model: state_bytes(model, frozen=4), "no gradient and no averages"),
                (lambda model: state_bytes(model, frozen=0), "still kept"),
                (lambda model: state_bytes(model, trained=3, frozen=3), "one of four is missing"),
                (lambda model: state_bytes(model) + 100, "a buffer is no parameter"),
                (lambda model: state_bytes(model, trained=2), "expected"),
            ],
        },
    ),
    (
        check.scaled,
        {
            "stub": stub,
            "reference": scaled,
            "right": [
                lambda factor: torch.tensor(scaled(factor)),
                lambda factor: scaled(factor, make=torch.optim.Adam),
                lambda factor: np.float32(scaled(factor)),
            ],
            "wrong": [
                (lambda factor: scaled(factor, seen=factor), "without the factor"),
                (lambda factor: scaled(1.0), "before `backward`"),
                (lambda factor: scaled(factor, make=torch.optim.SGD), "expected a loss"),
                (lambda factor: scaled(factor) * (2 if factor == 1000 else 1), "is it AdamW, with the same seeds"),
                (lambda factor: 1.0 + 0.05 * (factor < 1), "did the first one learn"),
            ],
        },
    ),
    (
        check.how_far,
        {
            "stub": stub,
            "reference": how_far,
            "right": [how_far_by_gradient, lambda *all: float(how_far(*all))],
            "wrong": [
                (lambda *all: how_far(*all) > 0, "not only whether"),
                (lambda *all: how_far(*all) + 1, "0 places ahead"),
                (last_token_only, "leaks at position 1 only"),
                (lambda model, ids: min(1, how_far(model, ids)), "sees everything"),
                (lambda model, ids: 0, "sees its target"),
            ],
        },
    ),
    (
        check.best_weight,
        {
            "stub": stub,
            "reference": best_weight,
            "right": [best_on_a_grid, lambda *all: np.float64(best_weight(*all))],
            "wrong": [
                (lambda p, q: best_weight(q, p), "weight of the second"),
                (best_in_plain_numbers, "got nan"),
                (lambda p, q: 0.5, "400 tokens"),
                (lambda p, q: float((p > q).double().mean()), "expected"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
