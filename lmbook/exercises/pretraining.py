"""Checkers for the exercises of the pretraining chapter."""

import math

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _number(got) -> bool:
    return isinstance(got, (int, float)) or isinstance(got, torch.Tensor) and got.ndim == 0


@exercise
def bits(answer) -> str:
    """``answer(nats_per_token, n_tokens, n_bytes)`` is the loss in bits a byte."""
    for nats, n_tokens, n_bytes in [(math.log(2), 10, 10), (3.0, 100, 250), (1.5, 7, 11)]:
        got, want = answer(nats, n_tokens, n_bytes), nats * math.log2(math.e) * n_tokens / n_bytes
        if _number(got) and not math.isclose(got, want):
            if math.isclose(got, nats * n_tokens / n_bytes):
                raise WrongAnswer("these are nats a byte: one bit is ln 2 nats")
            if math.isclose(got, want * (n_bytes / n_tokens) ** 2):
                raise WrongAnswer("the wrong way round: a token holds several bytes, so that a byte costs less")
        compare(got, want, f"{nats:.3f} nats, {n_tokens} tokens, {n_bytes} bytes")
    return "nats over ln 2 are bits, and the bytes share out what the tokens cost"


@exercise
def clip(answer) -> str:
    """``answer(gradients, limit)`` is the gradients with a common length of at most the limit."""
    for seed, limit in enumerate([1.0, 0.25, 3.0, 1000.0]):
        gradients = [_random(4, 3, seed=seed), 5 * _random(2, seed=seed + 10)]
        got = answer([gradient.clone() for gradient in gradients], limit)
        length = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        want = [gradient * min(1.0, limit / length.item()) for gradient in gradients]
        got = list(got) if isinstance(got, (list, tuple)) else got
        if isinstance(got, list) and len(got) == 2 and all(isinstance(g, torch.Tensor) for g in got):
            alone = [gradient * min(1.0, limit / gradient.norm().item()) for gradient in gradients]
            cut = [gradient.clamp(-limit, limit) for gradient in gradients]
            always = [gradient * limit / length for gradient in gradients]
            for mistake, message in [
                (alone, "each layer was shortened by itself: they share one length, or the direction changes"),
                (cut, "each number was cut off by itself: that changes the direction of the gradient"),
                (always, "a gradient that is short enough must stay as it is"),
            ]:
                alike = all(torch.allclose(g, m) for g, m in zip(got, mistake, strict=True))
                if alike and not all(torch.allclose(m, w) for m, w in zip(mistake, want, strict=True)):
                    raise WrongAnswer(f"limit {limit}: {message}")
        compare(len(got) if isinstance(got, list) else got, 2, "number of gradients")
        for mine, right in zip(got, want, strict=True):
            compare(mine, right, f"limit {limit}, length {length:.2f}")
    return "one length for all layers, shortened only where it is too long"


@exercise
def trapezium(answer) -> str:
    """``answer(step, warmup, decay, total, peak)`` rises, stays level and falls in straight lines."""
    for warmup, decay, total, peak in [(10, 20, 100, 1.0), (5, 5, 50, 0.003), (1, 40, 60, 2.0)]:
        for step in (1, warmup // 2 + 1, warmup, (warmup + total - decay) // 2, total - decay, total - 1, total):
            want = peak * min(1.0, step / warmup, (total - step) / decay)
            compare(answer(step, warmup, decay, total, peak), want, f"step {step} of {total}, {warmup=}, {decay=}")
    return "up, level, and down to nothing at the last step"


@exercise
def accumulated(answer) -> str:
    """``answer(losses, counts)`` is the mean over all targets, from the means over parts and their numbers."""
    for losses, counts in [([2.0, 4.0], [3, 1]), ([1.0, 5.0, 3.0], [10, 0, 30]), ([2.5], [7])]:
        got = answer(list(losses), list(counts))
        want = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
        if _number(got) and not math.isclose(got, want) and math.isclose(got, sum(losses) / len(losses)):
            raise WrongAnswer(f"losses {losses}, counts {counts}: this is the mean of the means; a target is a target")
        compare(got, want, f"losses {losses}, counts {counts}")
    return "every target counts once, whichever part it is in"


@exercise
def adamw(answer) -> str:
    """``answer(weights, gradient, m, v, t, rate, decay, b1, b2)`` is the new weights, m and v, as torch's AdamW."""
    b1, b2, rate, decay = 0.9, 0.95, 0.1, 0.2
    parameter = torch.nn.Parameter(_random(5, seed=0))
    optimizer = torch.optim.AdamW([parameter], lr=rate, betas=(b1, b2), weight_decay=decay)
    weights, m, v = parameter.detach().clone(), torch.zeros(5).double(), torch.zeros(5).double()
    for t in range(1, 5):
        parameter.grad = _random(5, seed=t) * 10 ** -(t % 3)
        got = answer(weights.clone(), parameter.grad.clone(), m.clone(), v.clone(), t, rate, decay, b1, b2)
        optimizer.step()
        if not isinstance(got, tuple) or len(got) != 3:
            compare(got, (parameter.detach(), m, v), "the three results")
        state = optimizer.state[parameter]
        compare(got[1], state["exp_avg"], f"step {t}, m")
        compare(got[2], state["exp_avg_sq"], f"step {t}, v")
        compare(got[0], parameter.detach(), f"step {t}, weights")
        weights, m, v = got
    return "four steps of torch.optim.AdamW, to the last digit that counts"
