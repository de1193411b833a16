"""Checkers for the exercises of the chapter on language models."""

import math
from itertools import product
from numbers import Number

import torch
from torch import nn

from lmbook.exercises.core import WrongAnswer, compare, exercise, near


@exercise
def pooled(answer) -> str:
    """``answer(texts)`` is the perplexity of texts whose tokens were given these probabilities."""
    cases = [
        [[0.25, 0.25]],
        [[1 / 3, 1.0, 0.25, 1.0, 0.75], [0.01]],
        [[0.5, 0.5, 0.5], [0.125], [0.9, 0.02, 0.3]],
    ]
    for texts in cases:
        losses = [[-math.log(p) for p in text] for text in texts]
        means = [sum(loss) / len(loss) for loss in losses]
        mean = sum(map(sum, losses)) / sum(map(len, losses))
        flat = [p for text in texts for p in text]
        got = answer(texts)
        for wrong, why in [
            (mean, "that is the cross-entropy; perplexity is its exponential"),
            (2**mean, "natural logarithms go with exp, and logarithms to base 2 with a power of 2"),
            (math.exp(-mean), "perplexity is at least 1: a minus is missing"),
            (sum(1 / p for p in flat) / len(flat), "that is the mean of 1/p; average the logarithms"),
            (
                sum(map(math.exp, means)) / len(means),
                "that is the mean of the texts' perplexities: count tokens, not texts",
            ),
            (
                math.exp(sum(means) / len(means)),
                "each text counts the same here, each token should: average over all tokens",
            ),
        ]:
            if near(got, wrong) and not near(wrong, math.exp(mean)):
                raise WrongAnswer(why)
        compare(got, math.exp(mean), f"the perplexity of {[[round(p, 2) for p in text] for text in texts]}")
    try:
        got = answer([[0.1] * 4000, [0.1] * 4000])
    except WrongAnswer:
        got = "an error"
    if not near(got, 10.0):
        raise WrongAnswer(f"8,000 tokens of probability 0.1 give 10, got {got}: a long product underflows, add logs")
    return "every token counts once, and long texts do not underflow"


@exercise
def to_bits(answer) -> str:
    """``answer(ppl, n_tokens, n_bytes)`` is in bits per byte."""
    for ppl, n_tokens, n_bytes in [(4.0, 8, 16), (1024.0, 100, 250), (42.7, 23_934, 61_000), (1.0, 5, 9)]:
        want, got = math.log2(ppl) * n_tokens / n_bytes, answer(ppl, n_tokens, n_bytes)
        if near(got, math.log(ppl) * n_tokens / n_bytes) and ppl > 1:
            raise WrongAnswer("that is in nats per byte; a bit is a logarithm to base 2")
        if near(got, math.log2(ppl) * n_bytes / n_tokens) and ppl > 1:
            raise WrongAnswer("upside down: the bits of all tokens are shared among the bytes")
        compare(got, want, f"perplexity {ppl} over {n_tokens} tokens of {n_bytes} bytes")
    return "the bits of all tokens, shared among the bytes"


@exercise
def shuffled(answer) -> str:
    """The perplexity on the test text of a Kneser-Ney 4-gram that was fitted on shuffled tokens."""
    if not isinstance(answer, Number) and getattr(answer, "numel", lambda: 0)() != 1:
        raise WrongAnswer("put the number that you measured in place of the dots")
    value = float(answer)
    if 5.5 < value < 6.5:
        raise WrongAnswer("that is a cross-entropy in nats; its exponential is the perplexity")
    if 8 < value < 9.5:
        raise WrongAnswer("that is in bits per token; two to this power is the perplexity")
    if value < 100:
        raise WrongAnswer(f"{value:.0f} is what a text in order gives: was the model fitted on the shuffled tokens?")
    if not 470 < value < 510:
        hint = "is it Kneser-Ney, of order 4, on the test text?"
        raise WrongAnswer(f"expected a seventh more than the unigram's 422, got {value:.0f}: {hint}")
    return "without order a 4-gram is a unigram that believes in chance"


@exercise
def lstm_step(answer) -> str:
    """``answer(gates, c)``: (B, 4 d) gates before their functions, in the order i, f, g, o, to the next h and c."""
    for seed, (batch, width) in enumerate([(1, 1), (2, 3), (4, 16)]):
        rng = torch.Generator().manual_seed(seed)
        x, h, c = torch.randn(3, batch, width, generator=rng)
        cell = nn.LSTMCell(width, width)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.normal_(generator=rng)
            gates = x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
            want_h, want_c = cell(x, (h, c))
        got = answer(gates, c)
        if not isinstance(got, tuple | list | torch.Tensor) or len(got) != 2:
            raise WrongAnswer(f"return h and c, got {type(got).__name__}")
        i, f, g, o = gates.chunk(4, dim=-1)
        if near(got[0], want_c, atol=1e-5) and near(got[1], want_h, atol=1e-5):
            raise WrongAnswer("h and c have changed places")
        if near(got[1], f.sigmoid() * c + i.sigmoid() * g.sigmoid(), atol=1e-5):
            raise WrongAnswer("g is no gate: it goes through tanh, so that it can be negative")
        if near(got[0], o.sigmoid() * want_c, atol=1e-5):
            raise WrongAnswer("the cell goes through tanh before the output gate")
        compare(got[1], want_c, f"batch {batch}, width {width}: c", atol=1e-5)
        compare(got[0], want_h, f"batch {batch}, width {width}: h", atol=1e-5)
    return "the same as nn.LSTMCell"


@exercise
def kn_bigram(answer) -> str:
    """``answer(counts, d)``: the matrix of p(column | row) of an interpolated Kneser-Ney bigram with one discount."""
    for seed, (rows, columns, d) in enumerate([(5, 4, 0.5), (4, 4, 0.75), (20, 50, 0.9)]):
        counts = torch.randint(0, 5, (rows, columns), generator=torch.Generator().manual_seed(seed))
        counts[1] = 0  # a context that was never seen
        counts[:, 2] = 0  # a word that was never seen
        counts[2:4, 0] = 40  # frequent after few words
        exists, total = (counts > 0).double(), counts.sum(1, keepdim=True).double()
        kept, left = (counts - d).clamp(min=0), d * exists.sum(1, keepdim=True)
        below = exists.sum(0) / exists.sum()
        safe = total.clamp(min=1)
        want = torch.where(total > 0, (kept + left * below) / safe, below)
        by_count = counts.sum(0).double() / counts.sum()
        got, case = answer(counts, d), f"counts of shape ({rows}, {columns}), d = {d}"
        for wrong, why in [
            (
                torch.where(total > 0, (kept + left * by_count) / safe, by_count),
                "the order below counts pairs, not words: after how many different words does it stand?",
            ),
            (
                torch.where(total > 0, (kept + d * below) / safe, below),
                "d was taken off each different word after a context; so much has to be handed out",
            ),
            (
                torch.where(total > 0, (kept + left * below) / safe, 1 / columns),
                "a context that was never seen leaves all to the order below",
            ),
            (
                torch.where(total > 0, (counts - d + left * below) / safe, below),
                "nothing can be taken off a count of 0",
            ),
        ]:
            if near(got, wrong):
                raise WrongAnswer(why)
        if isinstance(got, torch.Tensor) and got.shape == want.shape and got.isnan().any():
            raise WrongAnswer("there are NaNs: a context that was never seen has a count of 0")
        compare(got, want, case)
    return "every row sums to 1, and an unseen context gets the order below"


@exercise
def viterbi(answer) -> str:
    """``answer(start, move, say, tokens)``: the most probable path of states, as a list."""
    for seed, (n_states, n_words, length) in enumerate([(2, 4, 1), (2, 4, 6), (3, 5, 7), (4, 3, 5)] * 3):
        rng = torch.Generator().manual_seed(seed)
        start, move, say = (
            (2 * torch.randn(*shape, generator=rng, dtype=torch.float64)).softmax(-1)
            for shape in [(n_states,), (n_states, n_states), (n_states, n_words)]
        )
        tokens = torch.randint(n_words, (length,), generator=rng).tolist()

        paths = list(product(range(n_states), repeat=length))
        want, turned = (max(paths, key=_score(start, m, say, tokens)) for m in (move, move.T))
        got, case = answer(start, move, say, tokens), f"{n_states} states, tokens {tokens}"
        greedy = []
        for token in tokens:
            here = start if not greedy else move[greedy[-1]]
            greedy.append(int((here * say[:, token]).argmax()))
        for wrong, why in [
            (want[::-1], "that is the path from its end to its beginning"),
            (turned, "move[i, j] leads from i to j"),
            (greedy, "the best next step, each time; a worse step may lead to a better path"),
        ]:
            if near(got, wrong) and not near(wrong, want):
                raise WrongAnswer(f"{case}: {why}")
        compare(got, want, case)
    long = answer(
        torch.tensor([0.5, 0.5]),
        torch.tensor([[0.9, 0.1], [0.2, 0.8]]),
        torch.eye(2) * 0.8 + 0.1,
        [0] * 900 + [1] * 900,
    )
    if not near(long, [0] * 900 + [1] * 900):
        raise WrongAnswer("1,800 tokens: products of so many probabilities are 0, add their logarithms")
    return "the best of all paths, for long texts too"


def _score(start, move, say, tokens):
    """The log-probability of a path together with the tokens, as a function of the path."""
    start, move, say = (table.log().tolist() for table in (start, move, say))

    def score(path):
        steps = sum(move[i][j] for i, j in zip(path, path[1:], strict=False))
        return start[path[0]] + steps + sum(say[z][w] for z, w in zip(path, tokens, strict=True))

    return score
