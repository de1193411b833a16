"""Checkers for the exercises of the Transformer chapter."""

import torch
import torch.nn.functional as F

from lmbook.exercises.core import WrongAnswer, compare, exercise, near
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
    for seed, (shape, eps) in enumerate([((4,), 1e-5), ((3, 8), 1e-5), ((2, 3, 5), 1.0), ((2, 2), 1e-12)]):
        x, weight, bias = _random(*shape, seed=seed), _random(shape[-1], seed=10 + seed), _random(shape[-1], seed=20)
        got, want = answer(x, weight, bias, eps), F.layer_norm(x, shape[-1:], weight, bias, eps)
        centred = x - x.mean(-1, keepdim=True)
        if near(got, centred / (x.var(-1, keepdim=True) + eps).sqrt() * weight + bias, atol=1e-4):
            raise WrongAnswer("the variance divides by n here, and not by n - 1 as x.var() and x.std() do")
        if near(got, F.rms_norm(x, shape[-1:], weight, eps) + bias, atol=1e-4):
            raise WrongAnswer("that is RMSNorm: subtract the mean of each vector first")
        if near(got, centred / (x.std(-1, keepdim=True, correction=0) + eps) * weight + bias) and eps > 0.1:
            raise WrongAnswer("eps stands under the root, beside the variance")
        compare(got, want, f"a random tensor of shape {shape}, eps={eps:g}", atol=1e-5)
    return "each vector is centred and scaled by itself"


@exercise
def teacher_forcing(answer) -> str:
    """``answer(targets, start)``: what the decoder is given, and what it must predict with -100 for padding (id 0)."""
    cases = [([[7, 8, 2]], 1), ([[5, 2, 0, 0], [5, 6, 7, 2]], 1), ([[4, 2, 0], [4, 4, 2], [2, 0, 0]], 9)]
    cases += [([[6, 4, 2, 0, 0], [3, 6, 9, 4, 2]], 0), ([[5, 6, 2, 0], [5, 3, 5, 2]], 5)]
    for rows, start in cases:
        targets = torch.tensor(rows)
        pair = answer(targets, start)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise WrongAnswer("return two tensors: the decoder's input and what it must predict")
        given, predicted = pair
        sign = torch.full_like(targets[:, :1], start)
        shifted, hidden = torch.cat([sign, targets[:, :-1]], dim=1), targets.masked_fill(targets == 0, -100)
        if near(given, hidden) and near(predicted, shifted):
            raise WrongAnswer("the two are exchanged")
        if near(given, targets):
            raise WrongAnswer("the decoder would be given the very tokens that it must predict: shift them right")
        if near(given, torch.cat([sign, targets], dim=1)):
            raise WrongAnswer("the input is one too long: what follows the last target is never predicted")
        compare(given, shifted, f"the decoder's input for {rows}, start={start}")
        if near(predicted, targets) and 0 in targets:
            raise WrongAnswer("padding must not be graded: put -100 where a target is 0")
        compare(predicted, hidden, f"what it must predict for {rows}")
    return "at each position the input ends one token before the answer, and padding is not graded"


@exercise
def block_parameters(answer) -> str:
    """``answer(d_model, d_ff)`` counts the parameters of a block with biases, two LayerNorms and a plain network."""
    for d_model, d_ff in [(2, 7), (64, 100), (768, 3072), (512, 2048)]:
        got = answer(d_model, d_ff)
        matrices = 4 * d_model**2 + 2 * d_model * d_ff
        want = matrices + 4 * d_model + d_ff + d_model + 4 * d_model
        if near(got, matrices):
            raise WrongAnswer("you counted the matrices alone: there are biases, and two norms")
        if near(got, want - 4 * d_model):
            raise WrongAnswer("4 · d_model are missing: the biases of attention, or weight and bias of two LayerNorms")
        if near(got, want - d_model**2 - d_model):
            raise WrongAnswer("attention has four matrices: queries, keys, values, and the output")
        if near(got, want - 2 * d_model):
            raise WrongAnswer("2 · d_model are missing: each of the two LayerNorms has a weight and a bias")
        compare(got, want, f"d_model={d_model}, d_ff={d_ff}")
    return "attention, network and norms add up, GPT-2's 7,087,872 among them"


@exercise
def crossing_length(answer) -> str:
    """``answer(d_model, d_ff, gated)`` is the length at which attending costs as much as the network."""
    for d_model, d_ff, gated in [(768, 3072, False), (64, 100, False), (4096, 14336, True), (64, 100, True)]:
        got, want = answer(d_model, d_ff, gated), (3 if gated else 2) * d_ff / 2
        if gated and near(got, d_ff):
            raise WrongAnswer("a gated network has three matrices, not two")
        if near(got, 2 * want) or near(got, want / 2):
            raise WrongAnswer("off by a factor of 2: each weight costs 2 operations, and attending 4 · n · d_model")
        compare(got, want, f"d_model={d_model}, d_ff={d_ff}, gated={gated}")
    return "d_ff tokens for a plain network, 1.5 d_ff for a gated one"


@exercise
def decoder_block(answer) -> str:
    """``answer(x, memory, attend, feed_forward, norm)`` is a pre-norm decoder block."""
    w, calls = _random(6, 6, seed=1), []

    def attend(queries, keys_and_values, causal):
        calls.append((queries.shape[0] == keys_and_values.shape[0], bool(causal)))
        return reference_attention(queries, keys_and_values @ w, keys_and_values, causal=bool(causal))

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

    def block(read, within=norm):
        y = x + attend(within(x), within(x), True)
        y = y + attend(within(y), read, False)
        return y + feed_forward(within(y))

    y = norm(x)
    z = x + attend(y, y, True)
    z = z + attend(y, memory, False)
    if near(got, z + feed_forward(norm(z))):
        raise WrongAnswer("the cross-attention must read what the self-attention has written: normalise x again")
    if near(got.mean(-1), torch.zeros(4)):
        raise WrongAnswer("that is post-norm: the stream itself is never normalised in a pre-norm block")
    if near(got, block(norm(memory))):
        raise WrongAnswer("the memory was normalised by its encoder: take it as it is")
    if near(got, block(memory, within=lambda y: y)):
        raise WrongAnswer("each sublayer reads a normalised copy: norm is missing")
    compare(got, block(memory), "4 target and 7 source tokens")
    return "it looks back, across, and thinks"


@exercise
def losses_without(answer) -> str:
    """``answer`` is the loss of SmolLM2 on the chapter's text without block 1, without block 15, without block 30."""
    whole, measured = 3.056, [10.855, 3.481, 5.149]
    if near(answer, [6.652, 3.481, whole], rtol=0.02):
        raise WrongAnswer("you left out blocks 2, 16 and none: the list of blocks counts from 0")
    if near(answer, [value - whole for value in measured], rtol=0.03):
        raise WrongAnswer("these are the differences from the whole model: give the losses themselves")
    if near(answer, [whole] * 3, rtol=0.02):
        raise WrongAnswer("this is the loss of the whole model, three times: no block was left out")
    compare(answer, measured, "the losses without block 1, 15, 30", rtol=0.02)
    return "the first block carries most, the last much, one in the middle little"
