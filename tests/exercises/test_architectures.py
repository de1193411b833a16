"""The exercises of the architectures chapter, four ways."""

import math

import pytest
import torch

from lmbook.exercises import architectures as check


def stub(*args): ...


def count(v, m, d, n, *, tied=True, last=True, vectors=True):
    block = 12 * d * d + (13 * d if vectors else 0)
    return v * d * (1 if tied else 2) + m * d + n * block + (2 * d if last and vectors else 0)


def bits(logits, ids, n_bytes, *, shift=True, nats=False, tokens=False):
    logs = (logits[:-1] if shift else logits).log_softmax(-1)
    total = -logs.gather(1, (ids[1:] if shift else ids)[:, None]).sum()
    return total / (1 if nats else math.log(2)) / (len(ids) - 1 if tokens else n_bytes)


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


TABLE = [
    (
        check.gpt_parameters,
        {
            "stub": stub,
            "reference": count,
            "wrong": [
                (lambda *sizes: count(*sizes, tied=False), "embeddings twice"),
                (lambda *sizes: count(*sizes, last=False), "last LayerNorm"),
                (lambda *sizes: count(*sizes, vectors=False), "only the matrices"),
                (lambda v, m, d, n: count(v, m, d, n) - m * d, "expected"),
            ],
        },
    ),
    (
        check.split_qkv,
        {
            "stub": stub,
            "reference": lambda weight: weight.T.chunk(3),
            "wrong": [
                (lambda weight: weight.chunk(3, dim=1), "not transposed"),
                (lambda weight: [weight.T[i::3] for i in range(3)], "expected"),
                (lambda weight: weight.T, "three tensors"),
                (lambda weight: weight.T.chunk(3)[::-1], "w_q"),
            ],
        },
    ),
    (
        check.swiglu_width,
        {
            "stub": stub,
            "reference": lambda d, m: -(-(8 * d // 3) // m) * m,
            "wrong": [
                (lambda d, m: 4 * d, "two thirds"),
                (lambda d, m: 8 * d // 3, "is not a multiple"),
                (lambda d, m: 8 * d // 3 // m * m, "rounded down"),
                (lambda d, m: 2 * d, "expected"),
            ],
        },
    ),
    (
        check.bits_per_byte,
        {
            "stub": stub,
            "reference": bits,
            "wrong": [
                (lambda *args: bits(*args, shift=False), "not shifted"),
                (lambda *args: bits(*args, nats=True), "nats"),
                (lambda *args: bits(*args, tokens=True), "each token"),
                (lambda *args: -bits(*args), "expected"),
            ],
        },
    ),
    (
        check.write,
        {
            "stub": stub,
            "reference": write,
            "wrong": [
                (lambda *args: write(*args, keep_start=True), "start token"),
                (lambda *args: write(*args, keep_end=True), "end token closes"),
                (lambda *args: write(*args, stop=False), "goes on after"),
                (lambda *args: write(*args, sees_source=False), "expected"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
