"""The exercises of the chapter on language models, four ways."""

import math

import pytest
import torch

from lmbook.exercises import language_models as check


def stub(*args): ...


def mean_surprise(probs):
    return -sum(map(math.log, probs)) / len(probs)


def add_k(counts, k, *, dim=1):
    return (counts + k) / (counts.sum(dim, keepdim=True) + k * counts.shape[dim])


def forward_step(state, token, move, say):
    joint = state * say[:, token]
    return joint / joint.sum() @ move, joint.sum()


def weighed(state, token, say):
    joint = state * say[:, token]
    return joint / joint.sum()


def lstm_step(gates, c, *, write=torch.tanh, show=torch.tanh, order="ifgo"):
    gate = dict(zip(order, gates.chunk(4, dim=-1), strict=True))
    c = gate["f"].sigmoid() * c + gate["i"].sigmoid() * write(gate["g"])
    return gate["o"].sigmoid() * show(c), c


TABLE = [
    (
        check.perplexity,
        {
            "stub": stub,
            "reference": lambda probs: math.exp(mean_surprise(probs)),
            "wrong": [
                (mean_surprise, "is the cross-entropy"),
                (lambda probs: sum(1 / p for p in probs) / len(probs), "mean of 1/p"),
                (lambda probs: 2 ** mean_surprise(probs), "natural logarithms"),
                (lambda probs: max(math.prod(probs), 1e-300) ** (-1 / len(probs)), "underflows"),
                (lambda probs: math.exp(sum(map(math.log, probs)) / len(probs)), "expected"),
            ],
        },
    ),
    (
        check.to_bits_per_byte,
        {
            "stub": stub,
            "reference": lambda ppl, tokens, n_bytes: math.log2(ppl) * tokens / n_bytes,
            "wrong": [
                (lambda ppl, tokens, n_bytes: math.log(ppl) * tokens / n_bytes, "nats per byte"),
                (lambda ppl, tokens, n_bytes: math.log2(ppl) * n_bytes / tokens, "upside down"),
                (lambda ppl, tokens, n_bytes: ppl * tokens / n_bytes, "expected"),
            ],
        },
    ),
    (
        check.add_k,
        {
            "stub": stub,
            "reference": add_k,
            "wrong": [
                (lambda counts, k: add_k(counts, k, dim=0), "each column sums to 1"),
                (lambda counts, k: (counts + k) / (counts.sum(1, keepdim=True) + k), "do not sum to 1"),
                (lambda counts, k: add_k(counts, 2 * k), "expected"),
            ],
        },
    ),
    (
        check.forward_step,
        {
            "stub": stub,
            "reference": forward_step,
            "wrong": [
                (lambda s, t, move, say: (s * say[:, t] @ move, (s * say[:, t]).sum()), "does not sum to 1"),
                (lambda s, t, move, say: (move @ weighed(s, t, say), (s * say[:, t]).sum()), "from the left"),
                (lambda s, t, move, say: (weighed(s, t, say), (s * say[:, t]).sum()), "has to move"),
                (lambda s, t, move, say: (forward_step(s, t, move, say)[0], say[:, t].sum()), "probability of the"),
                (lambda s, t, move, say: forward_step(s, t, move, say)[0], "next state and"),
            ],
        },
    ),
    (
        check.lstm_step,
        {
            "stub": stub,
            "reference": lstm_step,
            "wrong": [
                (lambda gates, c: lstm_step(gates, c)[::-1], "changed places"),
                (lambda gates, c: lstm_step(gates, c, write=torch.sigmoid), "g is no gate"),
                (lambda gates, c: lstm_step(gates, c, show=lambda c: c), "through tanh before"),
                (lambda gates, c: lstm_step(gates, c, order="figo"), "expected"),
                (lambda gates, c: lstm_step(gates, c)[0], "return h and c"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
