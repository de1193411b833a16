"""The exercises of the chapter on pretraining objectives, four ways."""

import math

import pytest
import torch

from lmbook.exercises import objectives as check


def stub(*args): ...


def entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def padded(ids, pad_id, *, where=1):
    looked_at = ids[:, 1:] if where else ids[:, :-1]
    return ids[:, :-1], ids[:, 1:].masked_fill(looked_at == pad_id, -100)


def mask(ids, chosen, fate, words, mask_id, *, random=0.1):
    hidden = torch.where(fate < random, words, mask_id)
    return torch.where(chosen & (fate < 0.9), hidden, ids), torch.where(chosen, ids, -100)


def cut(tokens, spans, sentinels, *, tail=True, last=True):
    inputs, targets, done = [], [], 0
    for sentinel, (start, end) in zip(sentinels, spans, strict=False):
        inputs += tokens[done:start] + [sentinel]
        targets += [sentinel] + tokens[start:end]
        done = end
    return inputs + tokens[done:] * tail, targets + sentinels[len(spans) : len(spans) + 1] * last


TABLE = [
    (
        check.constant,
        {
            "stub": stub,
            "reference": lambda p: (entropy(p), max(p, 1 - p)),
            "wrong": [
                (lambda p: (entropy(p) / math.log(2), max(p, 1 - p)), "in bits"),
                (lambda p: (entropy(p), p), "more frequent class"),
                (lambda p: (-math.log(p), max(p, 1 - p)), "expected"),
                (lambda p: entropy(p), "two things"),
            ],
        },
    ),
    (
        check.padded_targets,
        {
            "stub": stub,
            "reference": padded,
            "wrong": [
                (lambda ids, pad: (ids[:, :-1], ids[:, 1:]), "padding is a target"),
                (lambda ids, pad: padded(ids, pad, where=0), "in the inputs"),
                (lambda ids, pad: (ids, ids), "expected shape"),
            ],
        },
    ),
    (
        check.mask_tokens,
        {
            "stub": stub,
            "reference": mask,
            "wrong": [
                (lambda ids, *more: (mask(ids, *more)[0], ids), "every position is graded"),
                (
                    lambda ids, c, f, w, m: (mask(ids, c, f, w, m)[0], torch.where(c & (f < 0.9), ids, -100)),
                    "left in place must be graded",
                ),
                (lambda *all: mask(*all, random=0.0), "the inputs"),
            ],
        },
    ),
    (
        check.sentence_order,
        {
            "stub": stub,
            "reference": lambda d, i, swap: (d[i + swap], d[i + 1 - swap], int(swap)),
            "wrong": [
                (lambda d, i, swap: (d[i + swap], d[i + 1 - swap], 1 - swap), "wrong way round"),
                (lambda d, i, swap: (d[i], d[i + 1], int(swap)), "change places"),
                (lambda d, i, swap: (d[i], d[i + 1]), "return"),
            ],
        },
    ),
    (
        check.cut_spans,
        {
            "stub": stub,
            "reference": cut,
            "wrong": [
                (lambda *all: cut(*all, tail=False), "behind the last span"),
                (lambda *all: cut(*all, last=False), "one more sentinel"),
                (lambda t, s, m: (cut(t, s, m)[0], t), "the targets"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
