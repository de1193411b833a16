"""Checkers for the exercises of the pretraining chapter."""

import math

import torch
import torch.nn as nn

from lmbook.exercises.core import WrongAnswer, compare, exercise, near


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@exercise
def bits_a_byte(answer) -> str:
    """``answer(nats_per_token, n_tokens, n_bytes)`` is the loss in bits a byte."""
    for nats, n_tokens, n_bytes in [(math.log(2), 10, 10), (3.0, 100, 250), (1.5, 7, 11)]:
        got, want = answer(nats, n_tokens, n_bytes), nats * math.log2(math.e) * n_tokens / n_bytes
        case = f"{nats:.3f} nats, {n_tokens} tokens, {n_bytes} bytes"
        if not near(got, want):
            if near(got, nats * n_tokens / n_bytes):
                raise WrongAnswer(f"{case}: these are nats a byte; one bit is ln 2 nats")
            if near(got, want * (n_bytes / n_tokens) ** 2):
                raise WrongAnswer(
                    f"{case}: the wrong way round: a token holds several bytes, so that a byte costs less"
                )
        compare(got, want, case)
    return "nats over ln 2 are bits, and the bytes share out what the tokens cost"


@exercise
def accumulated(answer) -> str:
    """``answer(losses, counts)`` is the mean over all targets, from the means over parts and their numbers."""
    for losses, counts in [([2.0, 4.0], [3, 1]), ([1.0, 5.0, 3.0], [10, 0, 30]), ([2.5], [7])]:
        got = answer(losses, counts)
        want = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
        if not near(got, want) and near(got, sum(losses) / len(losses)):
            raise WrongAnswer(f"losses {losses}, counts {counts}: this is the mean of the means; a target is a target")
        compare(got, want, f"losses {losses}, counts {counts}")
    return "every target counts once, whichever part it is in"


class _Tied(nn.Module):
    """Embeddings, two layers of other sizes, a buffer; the output has the embeddings' matrix, or its own."""

    def __init__(self, d: int, *, tied: bool) -> None:
        super().__init__()
        self.embed, self.inner, self.norm = nn.Embedding(7, d), nn.Linear(d, 3 * d), nn.LayerNorm(3 * d)
        self.back, self.unembed = nn.Linear(3 * d, d, bias=False), nn.Linear(d, 7, bias=False)
        self.register_buffer("mask", torch.ones(5, 5))
        if tied:
            self.unembed.weight = self.embed.weight


@exercise
def state_bytes(answer) -> str:
    """``answer(model)``: bytes of weights, gradients and AdamW's two averages; a frozen weight has only itself."""
    tied, frozen, half = _Tied(4, tied=True), _Tied(5, tied=False), _Tied(6, tied=False)
    frozen.inner.requires_grad_(False)
    half.back.to(torch.bfloat16)
    for name, model in {"tied embeddings": tied, "a frozen layer": frozen, "a layer in bfloat16": half}.items():
        sizes = [(p.numel() * p.element_size(), p.numel(), p.requires_grad) for p in model.parameters()]
        want = sum(size * (4 if trained else 1) for size, _, trained in sizes)
        got = answer(model)
        if near(got, want + 100) or near(got, want + 400):
            raise WrongAnswer(f"{name}: a buffer is no parameter; it has no gradient and is not counted here")
        shared = 4 * model.embed.weight.nbytes if model is tied else 0
        for mistake, message in [
            (want + shared, "a matrix that two layers share is one matrix"),
            (sum(n * (16 if t else 4) for _, n, t in sizes), "16 bytes for each, though some are half as wide"),
            (sum(4 * size for size, _, _ in sizes), "a frozen weight has no gradient and no averages"),
            (sum(4 * size for size, _, trained in sizes if trained), "a frozen weight is still kept"),
            (sum(3 * size for size, _, _ in sizes), "one of four is missing: weight, gradient, m, v"),
        ]:
            if mistake != want and near(got, mistake):
                raise WrongAnswer(f"a model with {name}: {message}")
        compare(got, want, f"bytes of a model with {name}")
    return "four numbers for a parameter that is trained, and one for one that is not"


@exercise
def scaled(answer) -> str:
    """``answer(factor)``: the loss at the end of a short run of AdamW in which the loss was multiplied by factor."""
    plain, large, tiny = (answer(factor) for factor in (1.0, 1000.0, 1e-12))
    for name, loss in {"1": plain, "1000": large, "1e-12": tiny}.items():
        if not near(loss, loss, atol=0) or math.isnan(float(loss)):
            raise WrongAnswer(f"factor {name}: expected a loss, got {loss!r}")
    plain, large, tiny = float(plain), float(large), float(tiny)
    if near(large / 1000, plain, rtol=0.05):
        raise WrongAnswer(f"factors 1 and 1000 gave {plain:.3f} and {large:.3f}: report the loss without the factor")
    if near(tiny, plain, rtol=0.02):
        raise WrongAnswer("a factor of 1e-12 changed nothing: it has to be in the loss before `backward`, unclipped")
    if not near(large, plain, rtol=0.02):
        raise WrongAnswer(f"factors 1 and 1000 gave {plain:.3f} and {large:.3f}: is it AdamW, with the same seeds?")
    if tiny < plain + 0.1:
        raise WrongAnswer(f"factors 1 and 1e-12 gave {plain:.3f} and {tiny:.3f}: did the first one learn?")
    return "1 and 1000 end alike; at 1e-12 epsilon is the larger, and nothing moves"


def _reader(T: int, ahead: dict[int, int], seed: int):
    """Logits from the tokens before each position, and up to ahead[position] behind it."""
    table = torch.randn(9, 9, generator=_generator(seed), dtype=torch.float64)

    def model(ids: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(ids.shape[1])
        reach = rows + torch.tensor([ahead.get(i, 0) for i in rows.tolist()])
        may_look = (rows[None] <= reach[:, None]).double()
        return torch.tanh(may_look @ table[ids])

    return model


@exercise
def how_far(answer) -> str:
    """``answer(model, ids)``: how many places ahead the logits of some position look; 0 for an honest model."""
    cases = {
        "an honest model": (6, {}),
        "one that sees its target": (5, dict.fromkeys(range(5), 1)),
        "one that sees everything": (7, dict.fromkeys(range(7), 9)),
        "one that leaks at position 1 only": (6, {1: 2}),
        "one that leaks at two positions": (8, {0: 3, 5: 1}),
    }
    for seed, (name, (T, ahead)) in enumerate(cases.items()):
        ids = torch.randint(9, (2, T), generator=_generator(seed))
        want = max([0, *(min(i + k, T - 1) - i for i, k in ahead.items())])
        got = answer(_reader(T, ahead, seed), ids)
        if isinstance(got, bool):
            raise WrongAnswer("how many places ahead, not only whether")
        if want and near(got, want + 1) or not want and near(got, 1):
            raise WrongAnswer(f"{name}: the token at the position itself is its input, which is 0 places ahead")
        compare(got, want, f"{name}, {T} tokens")
    return "a later token was changed, and the earlier logits told"


@exercise
def best_weight(answer) -> str:
    """``answer(log_p, log_q)``: the weight w of p for which w p + (1 - w) q gives a text most probability."""
    for name, (log_p, log_q) in _mixtures().items():
        got, want = answer(log_p, log_q), _weight(log_p, log_q)
        if abs(want - 0.5) > 0.01 and near(got, 1 - want, atol=2e-3):
            raise WrongAnswer(f"{name}: this is the weight of the second; return that of the first")
        if hasattr(got, "__float__") and math.isnan(float(got)):
            raise WrongAnswer(f"{name}: got nan; add in logarithms (torch.logaddexp)")
        compare(got, want, name, atol=2e-3)
    return "no other weight gives the text more probability"


def _mixtures() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    p, q = (torch.randn(400, generator=_generator(seed), dtype=torch.float64) - 3 for seed in (0, 1))
    never = q.clone()
    never[::10] = -math.inf
    return {
        "400 tokens": (p, q - 0.3),
        "a second that is much worse": (p, p - 1 - 0.1 * q.abs()),
        "a second that is much better": (p - 2, p),
        "a second that gives some tokens 0": (p, never),
        "tokens of probability e^-900": (p - 900, q - 900),
    }


def _weight(log_p: torch.Tensor, log_q: torch.Tensor) -> float:
    """By bisection of the slope, which only falls as w grows."""
    top = torch.maximum(log_p, log_q)
    p, q = (log_p - top).exp(), (log_q - top).exp()
    low, high = 0.0, 1.0
    for _ in range(60):
        w = (low + high) / 2
        rising = ((p - q) / (w * p + (1 - w) * q)).mean() > 0
        low, high = (w, high) if rising else (low, w)
    return (low + high) / 2
