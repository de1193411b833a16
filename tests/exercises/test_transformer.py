"""The exercises of the Transformer chapter, four ways."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lmbook.exercises import transformer as check


def stub(*args): ...


def normalise(x, weight, bias, eps, *, correction=0, centre=True, outside=0):
    centred = x - x.mean(-1, keepdim=True) if centre else x
    square = centred.square().sum(-1, keepdim=True) / (x.shape[-1] - correction)
    return centred / ((square + eps * (1 - outside)).sqrt() + eps * outside) * weight + bias


def normalise_in_place(x, weight, bias, eps):
    x -= x.mean(-1, keepdim=True)
    x /= (x.square().mean(-1, keepdim=True) + eps).sqrt()
    return x.mul_(weight).add_(bias)


def normalise_in_numpy(x, weight, bias, eps):
    x = x.numpy()
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight.numpy() + bias.numpy()


def forced(targets, start, *, ignore=-100):
    given = targets.roll(1, dims=1)
    given[:, 0] = start
    return given, torch.where(targets == 0, ignore, targets)


def forced_lists(targets, start):
    rows = targets.tolist()
    return [[start, *row[:-1]] for row in rows], [[i or -100 for i in row] for row in rows]


def decoder(
    x, memory, attend, feed_forward, norm,
    *, causal=True, see=False, swap=False, last=True, post=False, twice=False, raw=False, stale=False,
):  # fmt: skip
    inside = (lambda y: y) if raw else norm
    read = norm(memory) if twice else memory

    def look(x):
        return x + attend(inside(x), inside(x), causal)

    old = norm(x)

    def across(x):
        return x + attend(old if stale else inside(x), read, see)

    x = look(across(x)) if swap else across(look(x))
    x = x + feed_forward(inside(x)) if last else x
    return norm(x) if post else x


def decoder_by_name(x, memory, attend, feed_forward, norm):
    y = norm(x)
    x = x + attend(queries=y, keys_and_values=y, causal=True)
    x = x + attend(queries=norm(x), keys_and_values=memory, causal=False)
    return x + feed_forward(norm(x))


TABLE = [
    (
        check.normalise,
        {
            "stub": stub,
            "reference": lambda x, w, b, eps: F.layer_norm(x, x.shape[-1:], w, b, eps),
            "right": [
                normalise,
                normalise_in_place,
                normalise_in_numpy,
                lambda x, w, b, eps: normalise(x.float(), w.float(), b.float(), eps),
            ],
            "wrong": [
                (lambda *a: normalise(*a, correction=1), "n - 1"),
                (lambda *a: normalise(*a, centre=False), "RMSNorm"),
                (lambda x, w, b, eps: normalise(x, w, b, 0.0), "add eps"),
                (lambda *a: normalise(*a, outside=1), "under the root"),
                (lambda x, w, b, eps: normalise(x, w, b, 1e-5), "eps=1: expected"),
                (lambda x, w, b, eps: F.layer_norm(x, x.shape[-1:]), "expected"),
            ],
        },
    ),
    (
        check.teacher_forcing,
        {
            "stub": stub,
            "reference": forced,
            "right": [
                forced_lists,
                lambda t, s: list(forced(t, s)),
                lambda t, s: tuple(x.numpy() for x in forced(t, s)),
            ],
            "wrong": [
                (lambda t, s: (t, forced(t, s)[1]), "shift them right"),
                (lambda t, s: (F.pad(t, (1, 0), value=s), forced(t, s)[1]), "one too long"),
                (lambda t, s: forced(t, s)[::-1], "exchanged"),
                (lambda t, s: forced(t, s, ignore=0), "must not be graded"),
                (lambda t, s: forced(t, 1), "expected 9 at"),
                (lambda t, s: (forced(t, s)[0], torch.where((t == 0) | (t == s), -100, t)), "what it must predict"),
                (lambda t, s: t[:, :-1], "two tensors"),
                (lambda t, s: (t[:, :-1], t[:, 1:]), "expected shape"),
            ],
        },
    ),
    (
        check.block_parameters,
        {
            "stub": stub,
            "reference": lambda d, f: 4 * d * d + 2 * d * f + 9 * d + f,
            "right": [
                lambda d, f: 4.0 * d * d + 2 * d * f + 9 * d + f,
                lambda d, f: torch.tensor(4 * d * d + 2 * d * f + 9 * d + f),
            ],
            "wrong": [
                (lambda d, f: 4 * d * d + 2 * d * f, "matrices alone"),
                (lambda d, f: 4 * d * d + 2 * d * f + 5 * d + f, "biases of attention, or"),
                (lambda d, f: 4 * d * d + 2 * d * f + 7 * d + f, "each of the two LayerNorms"),
                (lambda d, f: 3 * d * d + 2 * d * f + 8 * d + f, "four matrices"),
                (lambda d, f: 12 * d * d + 13 * d, "d_ff=7: expected"),
            ],
        },
    ),
    (
        check.crossing_length,
        {
            "stub": stub,
            "reference": lambda d, f, gated: f * (1.5 if gated else 1),
            "right": [
                lambda d, f, gated: (3 if gated else 2) * f // 2,
                lambda d, f, gated: np.float64(f) * (1 + gated / 2),
            ],
            "wrong": [
                (lambda d, f, gated: f, "three matrices"),
                (lambda d, f, gated: 2 * f, "factor of 2"),
                (lambda d, f, gated: f * d, "expected"),
                (lambda d, f, gated: 5.25 * d if gated else f, "gated=True: expected 150"),
                (lambda d, f, gated: 21504 if gated else f, "gated=True: expected 150"),
                (lambda d, f, gated: str(f * (1.5 if gated else 1)), "expected a number"),
            ],
        },
    ),
    (
        check.decoder_block,
        {
            "stub": stub,
            "reference": decoder,
            "right": [decoder_by_name, lambda x, *a: decoder(x, *a).float()],
            "wrong": [
                (lambda *a: decoder(*a, causal=False), "later target tokens"),
                (lambda *a: decoder(*a, see=True), "cross-attention needs"),
                (lambda *a: decoder(*a, swap=True), "order is"),
                (lambda *a: decoder(*a, post=True), "post-norm"),
                (lambda *a: decoder(*a, twice=True), "take it as it is"),
                (lambda *a: decoder(*a, raw=True), "norm is missing"),
                (lambda *a: decoder(*a, stale=True), "normalise x again"),
                (lambda *a: decoder(*a, last=False), "expected"),
                (lambda x, memory, attend, ff, norm: x + attend(norm(x), memory, False), "called it 1 times"),
            ],
        },
    ),
    (
        check.losses_without,
        {
            "stub": None,
            "reference": [10.855, 3.481, 5.149],
            "right": [torch.tensor([10.86, 3.48, 5.15]), np.array([10.9, 3.5, 5.1]), (10.855, 3.48, 5.15)],
            "wrong": [
                ([6.65, 3.48, 3.06], "counts from 0"),
                ([7.8, 0.425, 2.09], "the losses themselves"),
                ([3.06, 3.06, 3.06], "no block was left out"),
                ([5.15, 3.48, 10.86], "expected"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
