"""Checkers for the exercises of the multi-head attention chapter."""

import torch
from einops import rearrange

from lmbook.exercises.core import WrongAnswer, compare, exercise
from lmbook.transformer import MultiHeadAttention
from lmbook.transformer import attention as reference_attention


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@exercise
def split_heads(answer) -> str:
    """``answer(x, n_heads)`` cuts (batch, tokens, heads · K) into (batch, heads, tokens, K)."""
    for n_tokens, n_heads, d_head in [(1, 1, 1), (3, 2, 4), (5, 4, 3)]:
        x = torch.arange(2.0 * n_tokens * n_heads * d_head).view(2, n_tokens, -1)
        got, want = answer(x, n_heads), rearrange(x, "B T (H K) -> B H T K", H=n_heads)
        if isinstance(got, torch.Tensor) and got.shape == want.shape and not torch.equal(got, want):
            if torch.equal(got, x.view(want.shape)):
                raise WrongAnswer(
                    "the shape is right, but a head now holds parts of several tokens: cut, then transpose"
                )
            if torch.equal(got, rearrange(x, "B T (K H) -> B H T K", H=n_heads)):
                raise WrongAnswer("the columns of a head lie next to each other: cut into (heads, K), not (K, heads)")
        compare(got, want, f"{n_tokens} tokens, {n_heads} heads of width {d_head}")
    return "every head has its own columns of every token"


@exercise
def n_parameters(answer) -> str:
    """``answer(d_model, n_heads, n_kv_heads)`` counts the weights of a layer without biases."""
    for d_model, n_heads, n_kv_heads in [(8, 2, 2), (64, 8, 2), (576, 9, 3), (512, 8, 1)]:
        got = answer(d_model, n_heads, n_kv_heads)
        with torch.device("meta"):
            layer = MultiHeadAttention(d_model, n_heads, n_kv_heads=n_kv_heads, bias=False)
        want = sum(weight.numel() for weight in layer.parameters())
        if got != want and got == want - d_model * d_model:
            raise WrongAnswer("one matrix is missing: after the heads comes W_O")
        if got != want and got == 4 * d_model * d_model:
            raise WrongAnswer("right for multi-head attention; with fewer key-value heads, W_K and W_V are narrower")
        compare(got, want, f"width {d_model}, {n_heads} heads, {n_kv_heads} key-value heads")
    return "the count of a real layer"


@exercise
def cache_tokens(answer) -> str:
    """``answer(n_bytes, n_layers, n_kv_heads, d_head, size=2)`` is the number of tokens that fit into a cache."""
    for n_bytes, n_layers, n_kv_heads, d_head, size in [
        (4096, 1, 1, 8, 4),
        (2**30, 32, 8, 128, 2),
        (10**9, 30, 3, 64, 2),
    ]:
        got = answer(n_bytes, n_layers, n_kv_heads, d_head, size)
        exact = n_bytes / (2 * n_layers * n_kv_heads * d_head * size)
        if got == n_bytes // (n_layers * n_kv_heads * d_head * size):
            raise WrongAnswer("twice too many: both keys and values are kept")
        if isinstance(got, float) and got == exact:
            raise WrongAnswer("a part of a token is no use: round down to a whole number")
        case = (
            f"{n_bytes} bytes, {n_layers} layers, {n_kv_heads} key-value heads of width {d_head}, {size} bytes a number"
        )
        compare(got, int(exact), case)
    compare(answer(2**20, 2, 2, 16), 2**20 // 256, "without size, 2 bytes a number")
    return "keys and values, of every layer"


@exercise
def grouped_attention(answer) -> str:
    """``answer(q, k, v)`` attends with H heads of queries to G heads of keys and values."""
    for seed, (n_heads, n_kv_heads) in enumerate([(2, 2), (4, 2), (6, 2), (3, 1)]):
        q, k, v = (_random(n, 5, 3, seed=10 * seed + i) for i, n in enumerate([n_heads, n_kv_heads, n_kv_heads]))
        got, group = answer(q, k, v), n_heads // n_kv_heads
        want = reference_attention(q, k.repeat_interleave(group, 0), v.repeat_interleave(group, 0))
        tiled = reference_attention(q, k.repeat(group, 1, 1), v.repeat(group, 1, 1))
        if isinstance(got, torch.Tensor) and got.shape == want.shape and not torch.allclose(got, want):
            if torch.allclose(got, tiled):
                raise WrongAnswer("neighbouring heads should share a set; in yours, heads 0 and G do (0, 1, 0, 1)")
            if torch.allclose(got, reference_attention(q, k[:1].expand_as(q), v[:1].expand_as(q))):
                raise WrongAnswer("all your heads use the first set: that is multi-query attention")
        compare(got, want, f"{n_heads} heads on {n_kv_heads} sets")
    return "each group of neighbouring heads shares its keys and values"


@exercise
def fold(answer) -> str:
    """``answer(outer_weight, outer_bias, inner_weight, inner_bias)`` makes one linear map of two."""
    for seed, (d_in, d_mid, d_out) in enumerate([(3, 3, 3), (4, 6, 2)]):
        outer, inner = _random(d_mid, d_in, seed=seed), _random(d_out, d_mid, seed=10 + seed)
        b, c = _random(d_mid, seed=20 + seed), _random(d_out, seed=30 + seed)
        got = answer(outer, b, inner, c)
        if not (isinstance(got, tuple | list) and len(got) == 2):
            raise WrongAnswer("return two tensors, the weight and the bias")
        case = f"linear maps {d_in} -> {d_mid} -> {d_out}"
        if d_in == d_mid == d_out and torch.allclose(got[0], outer @ inner):
            raise WrongAnswer("the wrong way round: the outer map comes first, so its matrix stands on the right")
        compare(got[0], inner @ outer, f"{case}, the weight")
        if torch.allclose(got[1], c):
            raise WrongAnswer("the bias of the outer map also goes through the inner one")
        compare(got[1], inner @ b + c, f"{case}, the bias")
    return "two linear maps in a row are one"


@exercise
def prune(answer) -> str:
    """``answer(w_q, w_k, w_v, w_o, n_heads, head)`` returns the matrices of a layer without that head."""
    d_model, d_head = 6, 2
    x = _random(1, 5, d_model, seed=9)
    for seed, (n_heads, head) in enumerate([(3, 0), (3, 1), (4, 3)]):
        shapes = [(n_heads * d_head, d_model)] * 3 + [(d_model, n_heads * d_head)]
        weights = [_random(*shape, seed=10 * seed + i) for i, shape in enumerate(shapes)]
        got = answer(*weights, n_heads, head)
        case = f"{n_heads} heads without head {head}"
        if not (isinstance(got, tuple | list) and len(got) == 4):
            raise WrongAnswer("return the four matrices w_q, w_k, w_v and w_o")
        if got[0].shape == weights[0].shape:
            raise WrongAnswer("silenced, but as large as before: leave the rows and columns of the head out")
        for name, small, large in zip(["w_q", "w_k", "w_v", "w_o"], got, weights, strict=True):
            rows, columns = large.shape
            want = (rows, columns - d_head) if name == "w_o" else (rows - d_head, columns)
            if small.shape != want:
                raise WrongAnswer(f"{case}: {name} should have shape {want}, got {tuple(small.shape)}")
        silenced = weights[3].clone()
        silenced[:, head * d_head : (head + 1) * d_head] = 0
        output = _layer(x, [*weights[:3], silenced], n_heads)
        compare(_layer(x, got, n_heads - 1), output, f"{case}, the output of the smaller layer")
    return "a smaller layer with the same output"


def _layer(x: torch.Tensor, weights, n_heads: int) -> torch.Tensor:
    q, k, v = (rearrange(x @ w.T, "B T (H K) -> B H T K", H=n_heads) for w in weights[:3])
    return rearrange(reference_attention(q, k, v), "B H T K -> B T (H K)") @ weights[3].T
