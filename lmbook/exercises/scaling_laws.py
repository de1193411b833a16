"""Checkers of the exercises in the chapter on scaling laws."""

import math

import numpy as np
import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise

HOFFMANN = (1.69, 406.4, 410.7, 0.34, 0.28)
LAWS = [HOFFMANN, (1.8172, 482.01, 2085.43, 0.3478, 0.3658), (0.5, 20.0, 30.0, 0.5, 0.25)]


def _close(a, b) -> bool:
    return math.isclose(a, b, rel_tol=1e-4)


def _two(answer, names: str) -> tuple[float, float]:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise WrongAnswer(f"return two numbers, ({names}), got {type(answer).__name__}")
    return tuple(float(value) for value in answer)


def _loss(n: float, d: float, law) -> float:
    e, a, b, alpha, beta = law
    return e + a / n**alpha + b / d**beta


@exercise
def parameters(answer) -> str:
    """``answer(d_model, n_layers, vocab_size)``: (non-embedding, all) parameters, without biases and norms."""
    for d, layers, vocab in [(16, 1, 84), (768, 12, 50257), (4096, 32, 1000)]:
        blocks, everything = _two(answer(d, layers, vocab), "non-embedding, all")
        want, case = 12 * layers * d * d, f"d_model {d}, {layers} layers, {vocab} tokens"
        if blocks == 8 * layers * d * d:
            raise WrongAnswer(f"{case}: the feed-forward network is there, where is attention?")
        if blocks == 4 * layers * d * d:
            raise WrongAnswer(f"{case}: attention is there, where is the feed-forward network?")
        if everything == want + 2 * vocab * d:
            raise WrongAnswer(f"{case}: the embeddings are tied, one matrix serves both ends")
        compare(blocks, float(want), f"the non-embedding parameters of {case}")
        compare(everything, float(want + vocab * d), f"all parameters of {case}")
    return "12 · layers · width², and one embedding matrix"


@exercise
def days(answer) -> str:
    """``answer(n, d, chips, peak, utilisation)`` is how many days a training takes."""
    for n, d, chips, peak, share in [(175e9, 300e9, 1024, 312e12, 0.4), (8e9, 15e12, 16384, 989e12, 0.4)]:
        got, want = float(answer(n, d, chips, peak, share)), 6 * n * d / (chips * peak * share) / 86400
        if _close(got, want / 3):
            raise WrongAnswer("2 N D is the forward pass alone; the backward pass costs twice as much again")
        if _close(got, want * 86400):
            raise WrongAnswer("these are seconds")
        if _close(got, want * share) or _close(got, want * share * share):
            raise WrongAnswer("chips reach only a share of their peak: divide by peak · utilisation")
        compare(got, want, f"{n:.0e} parameters on {d:.0e} tokens", rtol=1e-4)
    return "6 N D floating-point operations, at the speed that is really reached"


@exercise
def power_law(answer) -> str:
    """``answer(x, y)`` is (amplitude, exponent) of y = amplitude / x^exponent, by least squares in log-log."""
    for seed, (amplitude, exponent) in enumerate([(10.0, 0.5), (400.0, 0.34), (3.0, 0.1)]):
        x = np.array([1e3, 1e4, 1e5, 1e6, 1e7])
        noise = np.random.default_rng(seed).normal(0, 0.02, len(x))
        y = amplitude / x**exponent * np.exp(noise)
        slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
        a, b = _two(answer(x.copy(), y.copy()), "amplitude, exponent")
        if _close(b, slope):
            raise WrongAnswer("the exponent stands in the denominator: it is minus the slope")
        if _close(a, intercept) or _close(a, intercept / math.log(10)):
            raise WrongAnswer("the intercept of the line is the logarithm of the amplitude")
        compare([a, b], [math.exp(intercept), -slope], f"x = 1e3 to 1e7, exponent near {exponent}", rtol=1e-4)
    return "a straight line through the logarithms"


@exercise
def objective(answer) -> str:
    """``answer(theta, n, d, loss)`` is Hoffmann's: the mean Huber loss (delta 0.001) of the log-losses."""
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(math.log(1e3), math.log(1e6), (2, 12)))
    for spread in [0.0003, 0.05]:
        e, a, b, alpha, beta = law = LAWS[2]
        loss = _loss(n, d, law) * np.exp(rng.normal(0, spread, len(n)))
        theta = np.array([math.log(e), math.log(a), math.log(b), alpha, beta])
        far = (np.log(_loss(n, d, law)) - np.log(loss)).astype(float)
        plain = _loss(n, d, law) - loss
        want, other = _huber(far), _huber(plain)
        got = float(answer(theta.copy(), n.copy(), d.copy(), loss.copy()))
        if _close(got, other):
            raise WrongAnswer("compare the logarithms of the losses, not the losses")
        if _close(got, square := float(np.mean(far**2) / 2)) and not _close(want, square):
            raise WrongAnswer("this is the squared error everywhere: beyond delta Huber's loss is linear")
        if _close(got, want * len(n)):
            raise WrongAnswer("take the mean over the runs, not the sum")
        compare(got * 1e6, want * 1e6, f"millionths, for residuals of about {spread}", rtol=1e-4)
    return "quadratic for small residuals, linear for outliers, in log space"


def _huber(residuals: np.ndarray, delta: float = 1e-3) -> float:
    r = torch.tensor(residuals, dtype=torch.float64)
    return float(torch.nn.functional.huber_loss(r, torch.zeros_like(r), delta=delta))


@exercise
def allocation(answer) -> str:
    """``answer(compute, law)`` is (N, D) of least loss with 6 N D = compute."""
    for law in LAWS:
        for compute in [1e12, 5.76e23]:
            _, a, b, alpha, beta = law
            n = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (compute / 6) ** (beta / (alpha + beta))
            got_n, got_d = _two(answer(compute, law), "N, D")
            case = f"compute {compute:.2e}, law {law}"
            if _close(got_n * got_d, compute):
                raise WrongAnswer(f"{case}: N · D is the compute; it should be a sixth of it")
            swapped = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (compute / 6) ** (alpha / (alpha + beta))
            if _close(got_n, swapped) and alpha != beta:
                raise WrongAnswer(f"{case}: N grows as C^(beta / (alpha + beta)), not with alpha on top")
            compare(got_n, n, f"N for {case}", rtol=1e-4)
            compare(got_d, compute / 6 / n, f"D for {case}", rtol=1e-4)
    return "no other model of the same compute has a lower loss"


@exercise
def break_even(answer) -> str:
    """``answer(n_big, d_big, n_small, law)``: tokens served from which on the small model of equal loss is cheaper."""
    for law in LAWS[:2]:
        e, a, b, alpha, beta = law
        for big, d_big in [(70e9, 1.4e12), (13e9, 3e11)]:
            for small in [big / 2, big / 1.5]:
                d_small = (b / (_loss(big, d_big, law) - e - a / small**alpha)) ** (1 / beta)
                want = 3 * (small * d_small - big * d_big) / (big - small)
                got = float(answer(big, d_big, small, law))
                case = f"{big:.2g} parameters on {d_big:.2g} tokens against {small:.2g}, law {law}"
                if _close(got, want / 3):
                    raise WrongAnswer(f"{case}: training costs 6 N a token and serving 2 N, three times less")
                if _close(got, d_small):
                    raise WrongAnswer(f"{case}: this is the text that the small model learns from; what do both cost?")
                compare(got / 1e9, max(want, 0.0) / 1e9, f"billions of tokens for {case}", rtol=1e-4)
            floor = (a / (_loss(big, d_big, law) - e)) ** (1 / alpha)
            got = answer(big, d_big, floor / 2, law)
            if isinstance(got, complex) or got != math.inf:
                raise WrongAnswer(f"no text brings {floor / 2:.2g} parameters to that loss: return math.inf")
    return "a longer training pays if the model is used enough"
