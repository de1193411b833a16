"""Checkers for the exercises of the chapter on language models."""

import math

import torch
from torch import nn

from lmbook.exercises.core import WrongAnswer, compare, exercise


def _close(got, want) -> bool:
    return isinstance(got, int | float | torch.Tensor) and math.isclose(float(got), want, rel_tol=1e-5)


@exercise
def perplexity(answer) -> str:
    """``answer(probs)`` is the perplexity of tokens that were given these probabilities."""
    for probs in [[0.25] * 4, [1 / 3, 1.0, 0.25, 1.0, 0.75], [0.5, 0.01]]:
        surprise = [-math.log(p) for p in probs]
        want, got = math.exp(sum(surprise) / len(probs)), answer(list(probs))
        if want != 4.0 and _close(got, sum(1 / p for p in probs) / len(probs)):
            raise WrongAnswer("that is the mean of 1/p; average the logarithms, and take the exponential last")
        if _close(got, sum(surprise) / len(probs)):
            raise WrongAnswer("that is the cross-entropy; perplexity is its exponential")
        if _close(got, 2 ** (sum(surprise) / len(probs))):
            raise WrongAnswer("natural logarithms go with exp, and logarithms to base 2 with a power of 2")
        compare(got, want, f"the perplexity of {[round(p, 2) for p in probs]}")
    got = answer([0.1] * 1000)
    if not _close(got, 10.0):
        raise WrongAnswer(f"1,000 tokens of probability 0.1 give 10, got {got}: a long product underflows, add logs")
    return "the exponential of the mean surprise, for long texts too"


@exercise
def to_bits_per_byte(answer) -> str:
    """``answer(perplexity, n_tokens, n_bytes)`` is in bits per byte."""
    for ppl, n_tokens, n_bytes in [(4.0, 8, 16), (1024.0, 100, 250), (42.7, 23_934, 61_000)]:
        want, got = math.log2(ppl) * n_tokens / n_bytes, answer(ppl, n_tokens, n_bytes)
        if _close(got, math.log(ppl) * n_tokens / n_bytes):
            raise WrongAnswer("that is in nats per byte; a bit is a logarithm to base 2")
        if _close(got, math.log2(ppl) * n_bytes / n_tokens):
            raise WrongAnswer("upside down: the bits of all tokens are shared among the bytes")
        compare(got, want, f"perplexity {ppl} over {n_tokens} tokens of {n_bytes} bytes")
    return "the bits of all tokens, shared among the bytes"


@exercise
def add_k(answer) -> str:
    """``answer(counts, k)`` is the matrix of p(column | row) with add-k smoothing."""
    for seed, (rows, columns, k) in enumerate([(5, 4, 1.0), (3, 3, 0.5), (20, 50, 0.01)]):
        counts = torch.randint(0, 4, (rows, columns), generator=torch.Generator().manual_seed(seed)).double()
        counts[0] = 0  # a context that was never seen
        want, got = (counts + k) / (counts.sum(1, keepdim=True) + k * columns), answer(counts, k)
        if isinstance(got, torch.Tensor) and got.shape == want.shape and not torch.allclose(got.double(), want):
            if torch.allclose(got.double(), (counts + k) / (counts.sum(0, keepdim=True) + k * rows)):
                raise WrongAnswer("each column sums to 1: normalise over the words that can follow, which are in a row")
            if not torch.allclose(got.double().sum(1), torch.ones(rows).double()):
                raise WrongAnswer("the rows do not sum to 1: what is added to V counts is added V times to their sum")
        compare(got, want, f"counts of shape ({rows}, {columns}), k = {k}")
    return "every row sums to 1, and an unseen context is uniform"


@exercise
def forward_step(answer) -> str:
    """``answer(state, token, move, say)``: p(z | tokens before), and a token, to p(next z | tokens) and p(token)."""
    for seed, (n_states, n_words) in enumerate([(2, 4), (3, 5), (8, 20)]):
        rng = torch.Generator().manual_seed(seed)
        state, move, say = (
            torch.rand(*shape, generator=rng, dtype=torch.float64).softmax(-1)
            for shape in [(n_states,), (n_states, n_states), (n_states, n_words)]
        )
        got = answer(state, 1, move, say)
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise WrongAnswer(f"return the next state and the probability of the token, got {type(got).__name__}")
        joint = state * say[:, 1]
        want = joint / joint.sum() @ move
        if isinstance(got[0], torch.Tensor) and got[0].shape == want.shape:
            if torch.allclose(got[0].double(), joint @ move):
                raise WrongAnswer("the next state does not sum to 1: divide by the probability of the token")
            if torch.allclose(got[0].double(), move @ (joint / joint.sum())):
                raise WrongAnswer("move[i, j] leads from i to j: the state multiplies it from the left")
            if torch.allclose(got[0].double(), joint / joint.sum()):
                raise WrongAnswer("that is the state at this token; it still has to move")
        compare(got[1], joint.sum(), f"{n_states} states: the probability of the token")
        compare(got[0], want, f"{n_states} states: the next state")
    return "the token weighs the states, and the states move on"


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
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise WrongAnswer(f"return h and c, got {type(got).__name__}")
        i, f, g, o = gates.chunk(4, dim=-1)
        plain = f.sigmoid() * c + i.sigmoid() * g.sigmoid()
        if all(isinstance(value, torch.Tensor) and value.shape == c.shape for value in got):
            if torch.allclose(got[0], want_c, atol=1e-5) and torch.allclose(got[1], want_h, atol=1e-5):
                raise WrongAnswer("h and c have changed places")
            if torch.allclose(got[1], plain, atol=1e-5):
                raise WrongAnswer("g is no gate: it goes through tanh, so that it can be negative")
            if torch.allclose(got[0], o.sigmoid() * want_c, atol=1e-5):
                raise WrongAnswer("the cell goes through tanh before the output gate")
        compare(got[1], want_c, f"batch {batch}, width {width}: c", atol=1e-5)
        compare(got[0], want_h, f"batch {batch}, width {width}: h", atol=1e-5)
    return "the same as nn.LSTMCell"
