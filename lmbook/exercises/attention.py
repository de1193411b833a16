"""Checkers for the exercises of the attention chapter."""

import gc

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lmbook.exercises.core import WrongAnswer, compare, exercise, near
from lmbook.transformer import attention as reference_attention
from lmbook.transformer import attention_weights, causal_mask, window_mask


def _random(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class _NoSoftmax(TorchDispatchMode):
    """Refuse PyTorch's softmax, under whichever name it is called."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "softmax" in str(function):
            raise WrongAnswer("that is PyTorch's softmax; write it with exp and a sum")
        return function(*args, **(kwargs or {}))


@exercise
def softmax(answer) -> str:
    """``answer(x)`` is the softmax of a tensor over its last axis, for large values too."""
    large = [[1000.0, 1001.0, 999.0], [-1000.0, -999.0, -1001.0], [2000.0, 0.0, 0.0], [3.0, 1.0, 2.0]]
    cases = [_random(*shape, seed=seed) for seed, shape in enumerate([(3,), (2, 5), (4, 3, 3)])]
    for x in [*cases, torch.tensor(large[0]), torch.tensor(large, dtype=torch.float64)]:
        with _NoSoftmax():
            got = answer(x)
        want = x.double().softmax(-1)
        if x.ndim > 1 and near(got, x.double().softmax(-2)):
            raise WrongAnswer("that is the softmax down the columns; each row should sum to 1: use the last axis")
        if x.abs().max() < 100:
            compare(got, want, f"a random tensor of shape {tuple(x.shape)}")
            continue
        case = f"rows of {'very different size' if x.ndim > 1 else 'scores near 1000'}"
        if not torch.isfinite(torch.as_tensor(got)).all():
            raise WrongAnswer(
                f"{case}: exp overflows to infinity, or a whole row vanishes to 0/0: "
                "subtract the largest value of each row, by itself, first"
            )
        compare(got, want, case, atol=1e-6 if x.dtype == torch.float64 else 5e-5)
    return "rows sum to 1, and scores of 1000 do no harm"


@exercise
def padded_weights(answer) -> str:
    """``answer(scores, real)`` are causal weights that are blind to padding; a query without keys gets zeros."""
    for seed, rows in enumerate([[[1, 1, 1]], [[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0]], [[0], [1]]]):
        real = torch.tensor(rows).bool()
        batch, n_tokens = real.shape
        scores = _random(batch, n_tokens, n_tokens, seed=seed)
        if n_tokens == 4:
            scores[0, 0] = torch.tensor([-2e4, 0.0, 0.0, 40.0])  # -1e4, BERT's, is not low enough to hide a key
            scores[0, 1, :2] = torch.tensor([999.0, 1000.0])
        mask = causal_mask(n_tokens) & real[:, None, :]
        want = scores.masked_fill(~mask, -torch.inf).softmax(-1).masked_fill(~mask, 0.0)
        got = answer(scores, real)
        case = f"{batch} x {n_tokens} tokens, real = {rows}"
        if hint := _padded_hint(got, scores, real, mask, want):
            raise WrongAnswer(f"{case}: {hint}")
        compare(got, want, case)
    return "no token looks ahead or at padding, and no row is NaN"


def _padded_hint(got, scores, real, mask, want) -> str | None:
    """The name of a typical mistake, or None."""
    if near(got, want) or torch.as_tensor(got).shape != want.shape:
        return None
    got = torch.as_tensor(got)
    if got.isnan().any() and near(got.nan_to_num(), want):
        return "a query that may look at nothing gives NaN; it should give zeros"
    if near(got, want * real[..., None]):
        return "a query that is padding may look at the real tokens before it; zeros are for a query without any key"
    if near(got, scores.softmax(-1) * mask):
        return "a row does not sum to 1: hide scores before the softmax, not weights after it"
    if near(got.nan_to_num(), scores.masked_fill(~mask, -torch.inf).softmax(-2).nan_to_num()):
        return "that is the softmax down the columns; the softmax runs over the keys, the last axis"
    if near(got, attention_weights(scores, torch.eye(len(scores[0])).double().expand_as(scores), mask.mT, scale=1.0)):
        return "the mask is the wrong way round: queries are rows, keys are columns"
    if (got * ~real[:, None, :]).abs().max() > 1e-9:
        return "some query looks at padding"
    if (got * ~causal_mask(scores.shape[-1])).abs().max() > 1e-9:
        return "some token looks at a later one"
    return None


@exercise
def local_mask(answer) -> str:
    """``answer(n_tokens, window)`` lets each token look at itself and at the window - 1 tokens before it."""
    for n_tokens, window in [(1, 1), (5, 1), (6, 3), (4, 9)]:
        got = answer(n_tokens, window)
        want = window_mask(n_tokens, window)
        if not near(got, want):
            if near(got, causal_mask(n_tokens).triu(-window)):
                raise WrongAnswer("one key too many: the token itself counts as one of the window")
            if near(got, want | want.T):
                raise WrongAnswer("your tokens also look ahead; the window lies behind the token")
            if near(got, want.T):
                raise WrongAnswer("the window lies behind the token, and yours lies ahead of it")
        compare(got, want, f"{n_tokens} tokens, window {window}")
    return "each token sees itself and its window, no more"


@exercise
def window_flops(answer) -> str:
    """``answer(n_tokens, window, width)`` counts the operations of attention that skips what a window hides."""
    for n_tokens, window, width in [(5, 3, 2), (1, 1, 1), (7, 1, 5), (4, 9, 3), (1024, 128, 64)]:
        pairs = int(window_mask(n_tokens, window).sum())
        got, want = answer(n_tokens, window, width), 4 * width * pairs
        case = f"{n_tokens} tokens, a window of {window}, width {width}"
        keys = [min(i + 1, window) for i in range(n_tokens)]
        for wrong, hint in {
            4 * width * n_tokens * window: "the first tokens have fewer keys than the window is long",
            2 * width * pairs: "half of it is missing: there are two products, and each term is a multiply and an add",
            width * pairs: "you counted one product, and only its multiplications: there are two",
            sum(n * (2 * width - 1) + width * (2 * n - 1) for n in keys): "that is the exact count, with n - 1 "
            "additions in a sum of n products; by the custom of the text they count as n",
        }.items():
            if wrong != want and near(got, wrong):
                raise WrongAnswer(f"{case}: {hint}")
        compare(got, want, case)
    return "4·K for each pair of a query and a key that it may look at"


@exercise
def plural(answer) -> str:
    """The shares of he and they (rows) that go to farmer and horses (columns), measured in SmolLM2, head 13.8."""
    want = torch.tensor([[0.7736, 0.0076], [0.2212, 0.4836]])
    if near(answer, want.T, atol=0.01):
        raise WrongAnswer("rows and columns are exchanged: one row for each pronoun")
    if near(answer, want.flip(0), atol=0.01) or near(answer, want.flip(1), atol=0.01):
        raise WrongAnswer("the right numbers in the wrong order: rows he, they; columns farmer, horses")
    compare(answer, want, "he, they (rows) to farmer, horses (columns)", atol=0.01)
    return "he goes to the farmer, they to the horses"


@exercise
def streaming_attention(answer) -> str:
    """``answer(q, keys, values)`` attends with one query over keys and values that come one at a time."""
    for seed, (n_keys, factor) in enumerate([(1, 1.0), (4, 1.0), (50, 1.0), (8, 5000.0), (6, -1.0)]):
        q, k, v = _random(3, seed=seed), factor * _random(n_keys, 3, seed=10 + seed), _random(n_keys, 2, seed=20 + seed)
        if factor < 0:  # all scores lie far below 0, where exp gives 0
            k = -3000 * q / (q @ q) * 3**0.5 - 0.1 * k.abs() * q.sign()
        want = reference_attention(q[None], k, v)[0]
        got = answer(q, *_in_lockstep(k, v))
        case = f"{n_keys} keys" + ("" if factor == 1 else ", scores in the thousands")
        if not torch.isfinite(torch.as_tensor(got)).all():
            raise WrongAnswer(
                f"{case}: exp overflows, or all its powers vanish: subtract the largest score seen so far, "
                "which may lie far below 0"
            )
        compare(got, want, case, atol=1e-6 if factor == 1 else 2e-3)
    return "one pass, a pair at a time, the same average"


def _in_lockstep(keys: torch.Tensor, values: torch.Tensor):
    """Iterators over copies of the rows of both, to be read in turn; at the end of a long one, nothing may be kept."""
    taken, before = [0, 0], _numbers_alive()

    def hand_out(which: int, rows: torch.Tensor):
        for i in range(len(rows)):
            taken[which] += 1
            if taken[which] > taken[1 - which] + 1:
                raise WrongAnswer("take a key together with its value: whoever reads all the keys first must keep them")
            yield rows[i].clone()
        if len(rows) > 40 and _numbers_alive() - before > 40:
            raise WrongAnswer(f"you keep the keys or values: after {len(rows)} of each, they are still in memory")

    return hand_out(0, keys), hand_out(1, values)


def _numbers_alive() -> int:
    """Numbers in tensors, and lists, which might hold them."""
    things = gc.get_objects()
    return sum(t.numel() for t in things if type(t) is torch.Tensor) + sum(type(t) is list for t in things)
