"""Checkers for the exercises of the Transformer chapter."""

import torch
import torch.nn.functional as F

from lmbook.exercises.core import WrongAnswer, compare, exercise
from lmbook.transformer import attention as reference_attention


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@exercise
def normalise(answer) -> str:
    """``answer(x, weight, bias, eps)`` is LayerNorm over the last axis."""
    flat = torch.full((2, 4), 3.0, dtype=torch.float64)
    got = answer(flat, torch.ones(4).double(), torch.zeros(4).double(), 1e-5)
    if isinstance(got, torch.Tensor) and not torch.isfinite(got).all():
        raise WrongAnswer("a vector of equal numbers has variance 0: add eps to the variance before the root")
    for seed, shape in enumerate([(4,), (3, 8), (2, 3, 5)]):
        x, weight, bias = _random(*shape, seed=seed), _random(shape[-1], seed=10 + seed), _random(shape[-1], seed=20)
        got, want = answer(x, weight, bias, 1e-5), F.layer_norm(x, shape[-1:], weight, bias, 1e-5)
        if isinstance(got, torch.Tensor) and got.shape == want.shape:
            centred = x - x.mean(-1, keepdim=True)
            if torch.allclose(got, centred / (x.var(-1, keepdim=True) + 1e-5).sqrt() * weight + bias, atol=1e-4):
                raise WrongAnswer("the variance divides by n here, and not by n - 1 as x.var() and x.std() do")
            if torch.allclose(got, F.rms_norm(x, shape[-1:], weight, 1e-5) + bias, atol=1e-4):
                raise WrongAnswer("that is RMSNorm: subtract the mean of each vector first")
        compare(got, want, f"a random tensor of shape {shape}")
    return "each vector is centred and scaled by itself"


@exercise
def teacher_forcing(answer) -> str:
    """``answer(targets)`` gives what the decoder sees and what it must predict, from (B, T) ids with a start sign."""
    for targets in [torch.tensor([[1, 7, 8, 2]]), torch.tensor([[1, 5, 2, 0, 0], [1, 5, 6, 7, 2]])]:
        pair = answer(targets)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise WrongAnswer("return two tensors: the decoder's input and what it must predict")
        given, predicted = pair
        if torch.equal(torch.as_tensor(given), torch.as_tensor(predicted)):
            raise WrongAnswer("input and output are the same: the model would only have to copy")
        if torch.equal(torch.as_tensor(given), targets[:, 1:]):
            raise WrongAnswer("the two are exchanged: the decoder would see the next token and predict the last")
        compare(given, targets[:, :-1], "the decoder's input")
        compare(predicted, targets[:, 1:], "what it must predict")
    return "at each position the input ends one token before the answer"


@exercise
def block_parameters(answer) -> str:
    """``answer(d_model, d_ff)`` counts the parameters of a block with biases, two LayerNorms and a plain network."""
    for d_model, d_ff in [(2, 8), (64, 256), (768, 3072)]:
        got = answer(d_model, d_ff)
        matrices = 4 * d_model**2 + 2 * d_model * d_ff
        want = matrices + 4 * d_model + d_ff + d_model + 4 * d_model
        if got == matrices:
            raise WrongAnswer("you counted the matrices alone: there are biases, and two norms")
        if got == want - 4 * d_model:
            raise WrongAnswer("the two LayerNorms are missing: each has a weight and a bias")
        if got == want - d_model**2 - d_model:
            raise WrongAnswer("attention has four matrices: queries, keys, values, and the output")
        compare(got, want, f"d_model={d_model}, d_ff={d_ff}")
    return "attention, network and norms add up, GPT-2's 7,087,872 among them"


@exercise
def crossing_length(answer) -> str:
    """``answer(d_model, d_ff, gated)`` is the length at which attending costs as much as the network."""
    for d_model, d_ff, gated in [(768, 3072, False), (64, 100, False), (4096, 14336, True)]:
        got, want = answer(d_model, d_ff, gated), (3 if gated else 2) * d_ff / 2
        if gated and got == d_ff:
            raise WrongAnswer("a gated network has three matrices, not two")
        if got in (2 * want, want / 2):
            raise WrongAnswer("off by a factor of 2: each weight costs 2 operations, and attending 4 · n · d_model")
        compare(float(got), want, f"d_model={d_model}, d_ff={d_ff}, gated={gated}")
    return "d_ff tokens for a plain network, 1.5 d_ff for a gated one"


@exercise
def decoder_block(answer) -> str:
    """``answer(x, memory, attend, feed_forward, norm)`` is a pre-norm decoder block."""
    w, calls = _random(6, 6, seed=1), []

    def attend(queries, others, causal):
        calls.append((queries.shape[0] == others.shape[0], bool(causal)))
        return reference_attention(queries, others @ w, others, causal=bool(causal))

    def feed_forward(x):
        return (x @ w).relu() @ w.T

    def norm(x):
        return F.layer_norm(x, x.shape[-1:])

    x, memory = _random(4, 6, seed=2), _random(7, 6, seed=3)
    got = answer(x, memory, attend, feed_forward, norm)
    if (True, False) in calls:
        raise WrongAnswer("your self-attention sees later target tokens: it needs causal=True")
    if (False, True) in calls:
        raise WrongAnswer("every source token may be seen: the cross-attention needs causal=False")
    if sorted(calls) != [(False, False), (True, True)]:
        raise WrongAnswer(f"attend once to x itself and once to the memory; you called it {len(calls)} times")
    if calls[0] == (False, False):
        raise WrongAnswer("the order is: look back at the target first, then across at the memory")
    want = x + attend(norm(x), norm(x), True)
    want = want + attend(norm(want), memory, False)
    want = want + feed_forward(norm(want))
    if isinstance(got, torch.Tensor) and torch.allclose(got.mean(-1), torch.zeros(4).double(), atol=1e-6):
        raise WrongAnswer("that is post-norm: the stream itself is never normalised in a pre-norm block")
    compare(got, want, "4 target and 7 source tokens")
    return "it looks back, across, and thinks"
