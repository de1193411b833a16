"""Checkers for the exercises of the multi-head attention chapter."""

import torch
from einops import rearrange
from torch.utils._python_dispatch import TorchDispatchMode

from lmbook.exercises.core import WrongAnswer, compare, exercise, near
from lmbook.transformer import attention as reference_attention


def _random(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@exercise
def split_heads(answer) -> str:
    """``answer(x, n_heads)`` cuts (batch, tokens, heads · K) into (batch, heads, tokens, K)."""
    for batch, n_tokens, n_heads, d_head in [(2, 1, 1, 1), (2, 3, 2, 4), (1, 5, 4, 3), (3, 4, 2, 2)]:
        x = torch.arange(1.0 * batch * n_tokens * n_heads * d_head).view(batch, n_tokens, -1)
        got, want = answer(x, n_heads), rearrange(x, "B T (H K) -> B H T K", H=n_heads)
        if not near(got, want):
            if near(got, x.view(want.shape)):
                raise WrongAnswer(
                    "the shape is right, but a head now holds parts of several tokens: cut, then transpose"
                )
            if near(got, rearrange(x, "B T (K H) -> B H T K", H=n_heads)):
                raise WrongAnswer("the columns of a head lie next to each other: cut into (heads, K), not (K, heads)")
        compare(got, want, f"a batch of {batch}, {n_tokens} tokens, {n_heads} heads of width {d_head}")
    return "every head has its own columns of every token"


@exercise
def longest_text(answer) -> str:
    """``answer(n_bytes, n_weights, batch, n_layers, n_kv_heads, d_head, size=2)``: tokens that each text may have."""
    for n_bytes, n_weights, batch, n_layers, n_kv_heads, d_head, size in [
        (50_000, 3000, 3, 5, 1, 8, 4),
        (80 * 2**30, 8_030_261_248, 16, 32, 8, 128, 2),
        (10**9, 134_515_008, 1, 30, 3, 64, 4),
        (1000, 600, 2, 1, 1, 4, 2),
        (2000, 1000, 1, 2, 2, 16, 1),
    ]:
        got = answer(n_bytes, n_weights, batch, n_layers, n_kv_heads, d_head, size)
        left, one = n_bytes - size * n_weights, 2 * n_layers * n_kv_heads * d_head * size
        want = max(0, left // (batch * one))
        case = (
            f"{n_bytes:,} bytes, {n_weights:,} weights, {batch} texts, {n_layers} layers, "
            f"{n_kv_heads} key-value heads of width {d_head}, {size} bytes a number"
        )
        for wrong, hint in [
            (left // (batch * one // 2), "twice too many: both keys and values are kept"),
            (left // one, "that would be one text; all of them grow"),
            (n_bytes // (batch * one), "the weights are on the card, too"),
            ((n_bytes - n_weights) // (batch * one), "a weight takes more than one byte"),
            (left // (batch * one // size), "a number in the cache takes more than one byte"),
            (left // (batch * one), "there is no room at all; the answer is 0, not a negative number"),
            (left // (batch * one // n_layers), "every layer keeps its own keys and values"),
            (left / (batch * one), "a part of a token is no use: round down to a whole number"),
        ]:
            if wrong != want and near(got, wrong):
                raise WrongAnswer(f"{case}: {hint}")
        compare(got, want, case)
    compare(answer(2**21, 2**19, 2, 2, 2, 16), 2**20 // 512, "without size, 2 bytes a number")
    return "the weights first, then keys and values of every layer and text"


class _NoCopies(TorchDispatchMode):
    """Refuse results of at least `limit` numbers: as many as a copy of one set of keys for each head of its group."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.untyped_storage().nbytes() // result.itemsize >= self.limit:
            raise WrongAnswer(
                f"{str(function).split('.')[1]} makes {result.numel():,} numbers: as many as a copy of the keys for "
                "each head of a group. Keep each set once (a product of expanded tensors copies them, too)"
            )
        return result


@exercise
def grouped_attention(answer) -> str:
    """``answer(q, k, v)`` attends with H heads of queries to G heads of keys and values, without copying them."""
    cases = [(2, 2, 5, 5, 3, 3), (4, 2, 2, 5, 3, 4), (6, 2, 3, 4, 5, 2), (3, 1, 1, 7, 2, 2), (8, 2, 1, 64, 16, 16)]
    for seed, (n_heads, n_kv_heads, n_queries, n_keys, d_key, d_value) in enumerate(cases):
        q = _random(n_heads, n_queries, d_key, seed=30 * seed)
        k, v = (_random(n_kv_heads, n_keys, d, seed=30 * seed + d + i) for i, d in [(1, d_key), (9, d_value)])
        group = n_heads // n_kv_heads
        want = reference_attention(q, k.repeat_interleave(group, 0), v.repeat_interleave(group, 0))
        got = answer(q, k, v)
        if not near(got, want):
            if near(got, reference_attention(q, k.repeat(group, 1, 1), v.repeat(group, 1, 1))):
                raise WrongAnswer("neighbouring heads should share a set; in yours, heads 0 and G do (0, 1, 0, 1)")
            if near(got, reference_attention(q, k[:1].expand(n_heads, -1, -1), v[:1].expand(n_heads, -1, -1))):
                raise WrongAnswer("all your heads use the first set: that is multi-query attention")
        compare(got, want, f"{n_heads} heads of {n_queries} queries on {n_kv_heads} sets of {n_keys} keys")
    with _NoCopies(n_heads * n_keys * d_key // n_kv_heads):
        answer(q, k, v)
    return "each group of neighbouring heads shares its keys and values, and none is copied"


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
        if d_in == d_mid == d_out and near(got[0], outer @ inner):
            raise WrongAnswer("the wrong way round: the outer map comes first, so its matrix stands on the right")
        compare(got[0], inner @ outer, f"{case}, the weight")
        if near(got[1], c):
            raise WrongAnswer("the bias of the outer map also goes through the inner one")
        compare(got[1], inner @ b + c, f"{case}, the bias")
    return "two linear maps in a row are one"


@exercise
def both(answer) -> str:
    """Nats per token that silencing 16.0 and 18.6 of SmolLM2 together costs on the second reading."""
    for wrong, hint in {
        0.647: "that is the cost of one head; silence both in the same `with`",
        1.274: "that is the sum of both costs: a prediction, and not what is measured",
        -1.354: "the sign: how much *greater* is the loss without the heads?",
        0.677: "that is the mean of both readings; only the second is asked for",
    }.items():
        if near(answer, wrong, atol=0.025):
            raise WrongAnswer(hint)
    compare(answer, 1.354, "both silenced, second reading", atol=0.025)
    return "more than the sum of both: there is more than one path"


@exercise
def prune(answer) -> str:
    """``answer(w_q, w_k, w_v, w_o, n_heads, n_kv_heads, silent)``: a layer without those heads, and the set of each."""
    cases = [(3, 3, 2, [0]), (3, 3, 2, [1]), (4, 2, 3, [0]), (6, 2, 2, [1, 0, 2]), (4, 2, 2, [3, 1]), (4, 1, 2, [])]
    for seed, (n_heads, n_kv_heads, d_head, silent) in enumerate(cases):
        d_model, group = 7, n_heads // n_kv_heads
        x = _random(1, 5, d_model, seed=100 + seed)
        rows = [n_heads * d_head, n_kv_heads * d_head, n_kv_heads * d_head]
        shapes = [(n, d_model) for n in rows] + [(d_model, n_heads * d_head)]
        weights = [_random(*shape, seed=10 * seed + i) for i, shape in enumerate(shapes)]
        got = answer(*weights, n_heads, n_kv_heads, silent)
        case = f"{n_heads} heads on {n_kv_heads} sets, without {silent}"
        if not (isinstance(got, tuple | list) and len(got) == 5):
            raise WrongAnswer("return the four matrices w_q, w_k, w_v and w_o, and the list of sets")
        left = [h for h in range(n_heads) if h not in silent]
        used = sorted({h // group for h in left})
        n_sets = len(used)
        *small, sets = [torch.as_tensor(part) for part in got]
        if silent and small[0].shape == weights[0].shape:
            raise WrongAnswer("silenced, but as large as before: leave the rows and columns of the heads out")
        if n_sets < n_kv_heads and small[1].shape == weights[1].shape:
            raise WrongAnswer(f"{case}: a set that no head uses any more is still there")
        n_left = len(left) * d_head
        wanted = [(n_left, d_model), (n_sets * d_head, d_model), (n_sets * d_head, d_model), (d_model, n_left)]
        for name, matrix, shape in zip(["w_q", "w_k", "w_v", "w_o"], small, wanted, strict=True):
            if matrix.shape != shape:
                raise WrongAnswer(f"{case}: {name} should have shape {shape}, got {tuple(matrix.shape)}")
        if near(sets, [h // group for h in left]) and used != list(range(n_sets)):
            raise WrongAnswer(f"{case}: count the sets anew, among those that are left")
        compare(sets, [used.index(h // group) for h in left], f"{case}, the sets")
        silenced = weights[3].clone()
        for h in silent:
            silenced[:, h * d_head : (h + 1) * d_head] = 0
        output = _layer(x, [*weights[:3], silenced], [h // group for h in range(n_heads)])
        compare(_layer(x, small, sets.tolist()), output, f"{case}, the output of the smaller layer", atol=1e-4)
    return "a smaller layer with the same output"


def _layer(x: torch.Tensor, weights, sets: list[int]) -> torch.Tensor:
    w_q, w_k, w_v, w_o = (w.double() for w in weights)
    d_head = len(w_q) // len(sets)
    q, k, v = (rearrange(x @ w.T, "B T (H K) -> B H T K", K=d_head) for w in (w_q, w_k, w_v))
    heads = reference_attention(q, k[:, sets], v[:, sets])
    return rearrange(heads, "B H T K -> B T (H K)") @ w_o.T
