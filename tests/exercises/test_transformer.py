"""The exercises of the Transformer chapter, four ways."""

import pytest
import torch.nn.functional as F

from lmbook.exercises import transformer as check


def stub(*args): ...


def normalise(x, weight, bias, eps, *, correction=0, centre=True):
    centred = x - x.mean(-1, keepdim=True) if centre else x
    square = centred.square().sum(-1, keepdim=True) / (x.shape[-1] - correction)
    return centred / (square + eps).sqrt() * weight + bias


def decoder(x, memory, attend, feed_forward, norm, *, causal=True, see=False, swap=False, last=True, post=False):
    def look(x):
        return x + attend(norm(x), norm(x), causal)

    def across(x):
        return x + attend(norm(x), memory, see)

    x = look(across(x)) if swap else across(look(x))
    x = x + feed_forward(norm(x)) if last else x
    return norm(x) if post else x


TABLE = [
    (
        check.normalise,
        {
            "stub": stub,
            "reference": lambda x, w, b, eps: F.layer_norm(x, x.shape[-1:], w, b, eps),
            "wrong": [
                (lambda *a: normalise(*a, correction=1), "n - 1"),
                (lambda *a: normalise(*a, centre=False), "RMSNorm"),
                (lambda x, w, b, eps: normalise(x, w, b, 0.0), "add eps"),
                (lambda x, w, b, eps: F.layer_norm(x, x.shape[-1:]), "expected"),
            ],
        },
    ),
    (
        check.teacher_forcing,
        {
            "stub": stub,
            "reference": lambda t: (t[:, :-1], t[:, 1:]),
            "wrong": [
                (lambda t: (t, t), "only have to copy"),
                (lambda t: (t[:, 1:], t[:, :-1]), "exchanged"),
                (lambda t: (t, t[:, 1:]), "expected shape"),
                (lambda t: t[:, :-1], "two tensors"),
            ],
        },
    ),
    (
        check.block_parameters,
        {
            "stub": stub,
            "reference": lambda d, f: 4 * d * d + 2 * d * f + 9 * d + f,
            "wrong": [
                (lambda d, f: 4 * d * d + 2 * d * f, "matrices alone"),
                (lambda d, f: 4 * d * d + 2 * d * f + 5 * d + f, "LayerNorms are missing"),
                (lambda d, f: 3 * d * d + 2 * d * f + 8 * d + f, "four matrices"),
                (lambda d, f: 12 * d * d + f, "expected"),
            ],
        },
    ),
    (
        check.crossing_length,
        {
            "stub": stub,
            "reference": lambda d, f, gated: f * (1.5 if gated else 1),
            "wrong": [
                (lambda d, f, gated: f, "three matrices"),
                (lambda d, f, gated: 2 * f, "factor of 2"),
                (lambda d, f, gated: f * d, "expected"),
            ],
        },
    ),
    (
        check.decoder_block,
        {
            "stub": stub,
            "reference": decoder,
            "wrong": [
                (lambda *a: decoder(*a, causal=False), "later target tokens"),
                (lambda *a: decoder(*a, see=True), "cross-attention needs"),
                (lambda *a: decoder(*a, swap=True), "order is"),
                (lambda *a: decoder(*a, post=True), "post-norm"),
                (lambda *a: decoder(*a, last=False), "expected"),
                (lambda x, memory, attend, ff, norm: x + attend(norm(x), memory, False), "called it 1 times"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
