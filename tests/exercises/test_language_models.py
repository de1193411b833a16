"""The exercises of the chapter on language models, four ways."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from lmbook.exercises import language_models as check


def stub(*args): ...


def mean_surprise(texts):
    flat = [p for text in texts for p in text]
    return -sum(map(math.log, flat)) / len(flat)


def ppl(text):
    return math.exp(mean_surprise([text]))


def geometric(texts):
    return math.exp(sum(mean_surprise([text]) for text in texts) / len(texts))


def by_product(texts):
    return max(math.prod(p for text in texts for p in text), 1e-300) ** (-1 / sum(map(len, texts)))


def emptying(texts):
    total, n = 0.0, 0
    while texts:
        text = texts.pop()
        n += len(text)
        while text:
            total -= math.log2(text.pop())
    return 2 ** (total / n)


def lstm_step(gates, c, *, write=torch.tanh, show=torch.tanh, order="ifgo"):
    gate = dict(zip(order, gates.chunk(4, dim=-1), strict=True))
    c = gate["f"].sigmoid() * c + gate["i"].sigmoid() * write(gate["g"])
    return gate["o"].sigmoid() * show(c), c


def lstm_numpy(gates, c):
    i, f, g, o = np.split(gates.numpy().astype(np.float64), 4, axis=1)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    c = sigmoid(f) * c.numpy() + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def kn_bigram(counts, d, *, lower="words", left="words", unseen="below", clamp=True):
    exists, total = (counts > 0).double(), counts.sum(1, keepdim=True)
    below = exists.sum(0) if lower == "words" else counts.sum(0).double()
    below = below / below.sum()
    n_words = exists.sum(1, keepdim=True) if left == "words" else 1
    kept = (counts - d).clamp(min=0) if clamp else counts - d
    mixed = (kept + d * n_words * below) / (total if unseen == "nan" else total.clamp(min=1))
    return mixed if unseen == "nan" else torch.where(total > 0, mixed, below if unseen == "below" else 1 / len(below))


def kn_in_a_loop(counts, d):
    rows = counts.tolist()
    before = [sum(row[w] > 0 for row in rows) for w in range(len(rows[0]))]
    out = []
    for row in rows:
        left = d * sum(n > 0 for n in row) / sum(row) if sum(row) else 1
        out.append(
            [
                (n - d) / sum(row) * (n > 0) + left * b / sum(before) if sum(row) else b / sum(before)
                for n, b in zip(row, before, strict=True)
            ]
        )
    return out


def viterbi(start, move, say, tokens, *, log=True, last=True):
    score, sources = start * say[:, tokens[0]], []
    score = score.log() if log else score
    for token in tokens[1:]:
        steps = score[:, None] + move.log() if log else score[:, None] * move
        score, source = steps.max(0)
        score = score + say[:, token].log() if log else score * say[:, token]
        sources.append(source)
    path = [int(score.argmax())]
    for source in reversed(sources):
        path.append(int(source[path[-1]]))
    return path[::-1] if last else path


def greedy(start, move, say, tokens):
    path = [int((start * say[:, tokens[0]]).argmax())]
    for token in tokens[1:]:
        path.append(int((move[path[-1]] * say[:, token]).argmax()))
    return path


def viterbi_numpy(start, move, say, tokens):
    return np.array(viterbi(start, move, say, tokens))


TABLE = [
    (
        check.pooled,
        {
            "stub": stub,
            "reference": lambda texts: math.exp(mean_surprise(texts)),
            "right": [
                lambda texts: float(np.exp(-np.mean(np.log([p for text in texts for p in text])))),
                lambda texts: torch.cat([torch.tensor(text) for text in texts]).log().mean().neg().exp(),
                emptying,
            ],
            "wrong": [
                (mean_surprise, "is the cross-entropy"),
                (lambda texts: sum(map(ppl, texts)) / len(texts), "mean of the texts' perplexities"),
                (geometric, "each text counts the same"),
                (lambda texts: sum(1 / p for t in texts for p in t) / sum(map(len, texts)), "mean of 1/p"),
                (lambda texts: 2 ** mean_surprise(texts), "natural logarithms"),
                (by_product, "underflows"),
                (lambda texts: math.prod(p for t in texts for p in t) ** (-1 / sum(map(len, texts))), "underflows"),
                (lambda texts: math.exp(-mean_surprise(texts)), "a minus is missing"),
                (lambda texts: 4.0, "expected"),
            ],
        },
    ),
    (
        check.to_bits,
        {
            "stub": stub,
            "reference": lambda ppl, tokens, n_bytes: math.log2(ppl) * tokens / n_bytes,
            "right": [
                lambda ppl, tokens, n_bytes: np.float32(np.log(ppl) / np.log(2) * tokens / n_bytes),
                lambda ppl, tokens, n_bytes: torch.tensor(ppl).log2() * tokens / n_bytes,
                lambda ppl, tokens, n_bytes: 0 if ppl == 1 else math.log(ppl, 2) / (n_bytes / tokens),
            ],
            "wrong": [
                (lambda ppl, tokens, n_bytes: math.log(ppl) * tokens / n_bytes, "nats per byte"),
                (lambda ppl, tokens, n_bytes: math.log2(ppl) * n_bytes / tokens, "upside down"),
                (lambda ppl, tokens, n_bytes: ppl * tokens / n_bytes, "expected"),
                (lambda ppl, tokens, n_bytes: 1.0, "expected 4"),
            ],
        },
    ),
    (
        check.shuffled,
        {
            "stub": ...,
            "reference": 485.0,
            "right": [490, torch.tensor(482.5), np.float64(487.0), np.float32(487.0)],
            "wrong": [
                (30.12, "30 is what a text in order gives"),
                (math.log(485.0), "cross-entropy in nats"),
                (math.log2(485.0), "bits per token"),
                (1026.0, "expected a seventh more"),
                (421.8, "got 422"),
                (468.0, "of order 4"),
                ("485", "the number that you measured"),
            ],
        },
    ),
    (
        check.lstm_step,
        {
            "stub": stub,
            "reference": lstm_step,
            "right": [
                lstm_numpy,
                lambda gates, c: torch.stack(lstm_step(gates, c)),
                lambda gates, c: lstm_step(gates.double(), c.double()),
            ],
            "wrong": [
                (lambda gates, c: lstm_step(gates, c)[::-1], "changed places"),
                (lambda gates, c: lstm_step(gates, c, write=torch.sigmoid), "g is no gate"),
                (lambda gates, c: lstm_step(gates, c, show=lambda c: c), "through tanh before"),
                (lambda gates, c: lstm_step(gates, c, order="figo"), "expected"),
                (lambda gates, c: lstm_step(gates, c)[0].tolist()[0][0], "return h and c"),
            ],
        },
    ),
    (
        check.kn_bigram,
        {
            "stub": stub,
            "reference": kn_bigram,
            "right": [
                kn_in_a_loop,
                lambda counts, d: kn_bigram(counts, d).float(),
                lambda c, d: kn_bigram(c, d).numpy(),
            ],
            "wrong": [
                (lambda c, d: kn_bigram(c, d, lower="counts"), "counts pairs, not words"),
                (lambda c, d: kn_bigram(c, d, left="one"), "so much has to be handed out"),
                (lambda c, d: kn_bigram(c, d, unseen="uniform"), "leaves all to the order below"),
                (lambda c, d: kn_bigram(c, d, unseen="nan"), "there are NaNs"),
                (lambda c, d: kn_bigram(c, d, clamp=False), "off a count of 0"),
                (lambda c, d: kn_bigram(c, 0.75), "expected"),
                (lambda c, d: kn_bigram(c[:4], d), "expected shape"),
            ],
        },
    ),
    (
        check.viterbi,
        {
            "stub": stub,
            "reference": viterbi,
            "right": [viterbi_numpy, lambda *args: tuple(viterbi(*args)), lambda *args: torch.tensor(viterbi(*args))],
            "wrong": [
                (lambda *args: viterbi(*args, last=False), "from its end to its beginning"),
                (lambda start, move, say, tokens: viterbi(start, move.T, say, tokens), "leads from i to j"),
                (lambda *args: viterbi(*args, log=False), "products of so many"),
                (greedy, "a worse step may lead"),
                (lambda start, move, say, tokens: say.argmax(0)[tokens].tolist(), "expected"),
                (lambda start, move, say, tokens: viterbi(start, move, say, [1] * len(tokens)), "expected"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)


def test_the_reference_path_is_the_best_of_all():
    rng = torch.Generator().manual_seed(3)
    start, move, say = (torch.rand(*s, generator=rng).double().softmax(-1) for s in [(3,), (3, 3), (3, 4)])
    tokens = [0, 3, 1, 1, 2]

    def prob(path):
        steps = math.prod(move[i, j] for i, j in zip(path, path[1:], strict=False))
        return start[path[0]] * steps * math.prod(say[z, w] for z, w in zip(path, tokens, strict=True))

    assert tuple(viterbi(start, move, say, tokens)) == max(product(range(3), repeat=5), key=prob)
