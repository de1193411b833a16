"""Checkers for the exercises of the attention chapter."""

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise
from lmbook.transformer import attention as reference_attention
from lmbook.transformer import causal_mask, window_mask


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@exercise
def softmax(answer) -> str:
    """``answer(x)`` is the softmax of a tensor over its last axis, for large values too."""
    for seed, shape in enumerate([(3,), (2, 5), (4, 3, 3)]):
        x = _random(*shape, seed=seed)
        got = answer(x)
        if len(shape) > 1 and torch.allclose(got, x.softmax(-2)):
            raise WrongAnswer("that is the softmax down the columns; each row should sum to 1: use the last axis")
        compare(got, x.softmax(-1), f"a random tensor of shape {shape}")
    large = torch.tensor([1000.0, 1001.0, 999.0])
    got = answer(large)
    if not torch.isfinite(got).all():
        raise WrongAnswer("exp(1000) overflows to infinity: subtract the largest value of each row first")
    compare(got, large.softmax(-1), "scores near 1000")
    return "rows sum to 1, and scores of 1000 do no harm"


@exercise
def causal_weights(answer) -> str:
    """``answer(scores)`` turns (T, T) scores into weights in which no token looks at a later one."""
    for seed, n_tokens in enumerate([1, 3, 6]):
        scores = _random(n_tokens, n_tokens, seed=seed)
        got = answer(scores)
        if got.shape == scores.shape and n_tokens > 1:
            if got.triu(1).abs().max() > 1e-9 and got.tril(-1).abs().max() < 1e-9:
                raise WrongAnswer("the mask is the wrong way round: your tokens look at later ones only")
            if not torch.allclose(got.sum(-1), torch.ones(n_tokens, dtype=got.dtype)):
                raise WrongAnswer("a row does not sum to 1: hide scores before the softmax, not weights after it")
        compare(got, scores.masked_fill(~causal_mask(n_tokens), -torch.inf).softmax(-1), f"{n_tokens} tokens")
    return "no token looks ahead, and every row still sums to 1"


@exercise
def local_mask(answer) -> str:
    """``answer(n_tokens, window)`` lets each token look at itself and at the window - 1 tokens before it."""
    for n_tokens, window in [(1, 1), (5, 1), (6, 3), (4, 9)]:
        got = answer(n_tokens, window)
        want = window_mask(n_tokens, window)
        if isinstance(got, torch.Tensor) and got.shape == want.shape and got.dtype == torch.bool:
            if torch.equal(got, causal_mask(n_tokens).triu(-window)) and not torch.equal(got, want):
                raise WrongAnswer("one key too many: the token itself counts as one of the window")
            if torch.equal(got, want | want.T) and not torch.equal(got, want):
                raise WrongAnswer("your tokens also look ahead; the window lies behind the token")
        compare(got, want, f"{n_tokens} tokens, window {window}")
    return "each token sees itself and its window, no more"


@exercise
def flops(answer) -> str:
    """``answer(T, S, K)`` counts the multiplications and additions of the two matrix products of attention."""
    for n_queries, n_keys, width in [(1, 1, 1), (3, 3, 2), (128, 1024, 64)]:
        got, want = answer(n_queries, n_keys, width), 4 * n_queries * n_keys * width
        if 2 * got == want:
            raise WrongAnswer("half of it is missing: there are two products, and each term is a multiply and an add")
        if 4 * got == want:
            raise WrongAnswer("you counted one product, and only its multiplications: there are two")
        compare(got, want, f"{n_queries} queries, {n_keys} keys of width {width}")
    return "2·T·S·K for the scores and as much for the averages"


@exercise
def streaming_attention(answer) -> str:
    """``answer(q, keys, values)`` attends with one query over keys and values that come one at a time."""
    for seed, (n_keys, factor) in enumerate([(1, 1.0), (4, 1.0), (50, 1.0), (8, 5000.0)]):
        q, k, v = _random(3, seed=seed), factor * _random(n_keys, 3, seed=10 + seed), _random(n_keys, 2, seed=20 + seed)
        got = answer(q, iter(k), iter(v))
        if not torch.isfinite(torch.as_tensor(got)).all():
            raise WrongAnswer("scores in the thousands overflow exp: subtract the largest score seen so far")
        want = reference_attention(q[None], k, v)[0]
        compare(got, want, f"{n_keys} keys" + (", large scores" if factor > 1 else ""))
    return "one pass, constant memory, the same average"
