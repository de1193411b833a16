"""The exercises of the architectures chapter, four ways."""

import math

import numpy as np
import pytest
import torch

from lmbook.exercises import architectures as check


def stub(*args): ...


def width(d, stretch, multiple):
    return -(-int(stretch * (8 * d // 3)) // multiple) * multiple


def bits(logits, ids, n_bytes, *, shift=True, nats=False, tokens=False):
    logs = (logits[:-1] if shift else logits).log_softmax(-1)
    total = -logs.gather(1, (ids[1:] if shift else ids)[:, None]).sum()
    return total / (1 if nats else math.log(2)) / (len(ids) - 1 if tokens else n_bytes)


def bits_by_loop(logits, ids, n_bytes):
    rows, total = logits.numpy(), 0.0
    for t in range(len(ids) - 1):
        row = rows[t] - rows[t].max()
        total += np.log(np.exp(row).sum()) - row[ids[t + 1]]
    return total / np.log(2) / n_bytes


def bits_unsafe(logits, ids, n_bytes):
    shares = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return -shares[torch.arange(len(ids) - 1), ids[1:]].log2().sum() / n_bytes


def mixture(x, router, experts, k, *, chosen_only=True, weighted=True, over_all=False, smallest=False, every=False):
    scores, result = x @ router.T, torch.zeros_like(x)
    top, chosen = scores.topk(len(experts) if every else k, largest=not smallest)
    weights = scores.softmax(-1).gather(1, chosen) if over_all else top.softmax(-1)
    if not weighted:
        weights = torch.full_like(weights, 1 / k)
    for e, expert in enumerate(experts):
        row, place = (chosen == e).nonzero(as_tuple=True)
        if chosen_only and len(row):
            result[row] += weights[row, place, None] * expert(x[row])
        elif not chosen_only:
            outputs = expert(x)
            result[row] += weights[row, place, None] * outputs[row]
    return result


def mixture_by_token(x, router, experts, k):
    rows = []
    for token in x:
        scores = router @ token
        best = sorted(range(len(experts)), key=lambda e: -float(scores[e]))[:k]
        shares = np.exp([float(scores[e] - scores[best[0]]) for e in best])
        rows.append(sum(s * experts[e](token[None])[0] for s, e in zip(shares / shares.sum(), best, strict=True)))
    return torch.stack(rows).float()


@torch.no_grad()
def write(model, ids, start_id, end_id, limit, *, stop=True, keep_end=False, keep_start=False, sees_source=True):
    memory, target = model.encode(ids if sees_source else torch.full_like(ids, start_id)), [start_id]
    for _ in range(limit):
        token = int(model.decode(torch.tensor([target]), memory)[0, -1].argmax())
        if token == end_id and stop:
            target += [end_id] if keep_end else []
            break
        target.append(token)
    return target if keep_start else target[1:]


@torch.no_grad()
def write_reading_each_time(model, ids, start_id, end_id, limit):
    target = [start_id]
    while len(target) <= limit:
        token = int(model(ids, torch.tensor([target]))[0, -1].argmax())
        if token == end_id:
            break
        target.append(token)
    return target[1:]


def write_as_tensor(*args):
    return torch.tensor(write(*args))


TABLE = [
    (
        check.split_qkv,
        {
            "stub": stub,
            "reference": lambda weight: weight.T.chunk(3),
            "right": [
                lambda weight: torch.stack(weight.T.chunk(3)),
                lambda weight: (part.T for part in weight.float().chunk(3, dim=1)),
                lambda weight: np.split(weight.numpy().T, 3),
            ],
            "wrong": [
                (lambda weight: weight.chunk(3, dim=1), "not transposed"),
                (lambda weight: [weight.T[i::3] for i in range(3)], "expected"),
                (lambda weight: weight.T, "three tensors"),
                (lambda weight: weight.T.chunk(3)[::-1], "w_q"),
            ],
        },
    ),
    (
        check.gated_width,
        {
            "stub": stub,
            "reference": width,
            "right": [
                lambda d, stretch, m: float(width(d, stretch, m)),
                lambda d, stretch, m: int(m * np.ceil(np.floor(stretch * np.floor(8 * d / 3)) / m)),
            ],
            "wrong": [
                (lambda d, stretch, m: m * math.ceil(4 * d * stretch / m), "two thirds"),
                (lambda d, stretch, m: int(stretch * (8 * d // 3)), "is not a multiple"),
                (lambda d, stretch, m: int(stretch * (8 * d // 3)) // m * m, "rounded down"),
                (lambda d, stretch, m: m * math.ceil(stretch * 8 * d / 3 / m), "round down twice"),
                (lambda d, stretch, m: m * math.ceil(stretch * (8 * d // 3) / m), "round down twice"),
                (lambda d, stretch, m: width(d, 1.0, m), "stretch=1.3, multiples of 1024: expected"),
                (lambda d, stretch, m: -(-int(stretch * 8 * d / 3) // m) * m, "stretch=1.5"),
            ],
        },
    ),
    (
        check.bits_per_byte,
        {
            "stub": stub,
            "reference": bits,
            "right": [bits_by_loop, lambda logits, ids, n: float(bits(logits, ids, n))],
            "wrong": [
                (lambda *args: bits(*args, shift=False), "not shifted"),
                (lambda *args: bits(*args, nats=True), "nats"),
                (lambda *args: bits(*args, tokens=True), "each token"),
                (lambda *args: -bits(*args), "expected"),
                (bits_unsafe, "logits of about 900"),
            ],
        },
    ),
    (
        check.no_positions,
        {
            "stub": ...,
            "reference": 0.46,
            "right": [torch.tensor(0.47), np.float32(0.45)],
            "wrong": [
                (1.0, "is a copy"),
                (0.14, "can do better"),
                (0.33, "expected"),
                (46.0, "between 0 and 1"),
            ],
        },
    ),
    (
        check.mixture,
        {
            "stub": stub,
            "reference": mixture,
            "right": [mixture_by_token, lambda x, *more: mixture(x, *more).numpy()],
            "wrong": [
                (lambda *args: mixture(*args, every=True), "every expert has a say"),
                (lambda *args: mixture(*args, over_all=True), "do not sum to 1"),
                (lambda *args: mixture(*args, weighted=False), "plain mean"),
                (lambda *args: mixture(*args, smallest=True), "expected"),
                (lambda *args: mixture(*args, chosen_only=False), "the experts read"),
            ],
        },
    ),
    (
        check.write,
        {
            "stub": stub,
            "reference": write,
            "right": [write_as_tensor, lambda *args: tuple(write(*args))],
            "wrong": [
                (lambda *args: write(*args, keep_start=True), "start token"),
                (lambda *args: write(*args, keep_end=True), "end token closes"),
                (lambda *args: write(*args, stop=False), "goes on after"),
                (lambda *args: write(*args, sees_source=False), "expected"),
                (write_reading_each_time, "was read 2 times"),
                (lambda model, ids, start, end, limit: write(model, ids, 0, 1, limit), "start 3, end 5"),
                (lambda model, ids, start, end, limit: write(model, ids, start, end, max(limit, 1)), "at most 0"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
