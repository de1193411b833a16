"""Checkers of the exercises in the chapter on scaling laws."""

import math

import numpy as np

from lmbook.exercises.core import WrongAnswer, compare, exercise, near

HOFFMANN = (1.69, 406.4, 410.7, 0.34, 0.28)
BESIROGLU = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)
LAWS = [HOFFMANN, BESIROGLU, (0.5, 20.0, 30.0, 0.5, 0.25)]


def _close(a, b) -> bool:
    return near(a, b, rtol=1e-4)


def _several(answer, names: str) -> list[float]:
    found = answer.tolist() if hasattr(answer, "tolist") else answer
    if not isinstance(found, tuple | list) or len(found) != names.count(",") + 1:
        raise WrongAnswer(f"return ({names}), got {type(answer).__name__}")
    return [_number(value, names) for value in found]


def _number(value, name: str) -> float:
    if isinstance(value, complex | str) or not hasattr(value, "__float__"):
        raise WrongAnswer(f"{name}: expected real numbers, got {value!r}")
    return float(value)


def _loss(n: float, d: float, law) -> float:
    e, a, b, alpha, beta = law
    return e + a / n**alpha + b / d**beta


@exercise
def affordable(answer) -> str:
    """``answer(hours, peak, utilisation, ratio)``: (N, D) that these hours pay for, with D = ratio · N."""
    for hours, peak, share, ratio in [(1e6, 989e12, 0.4, 20), (24.0, 312e12, 0.25, 100), (5e3, 1e15, 0.5, 1.7)]:
        compute = hours * 3600 * peak * share
        n = math.sqrt(compute / (6 * ratio))
        got_n, got_d = _several(answer(hours, peak, share, ratio), "N, D")
        case = f"{hours:g} hours at {share:.0%} of {peak:.3g} FLOPs a second, {ratio} tokens a parameter"
        if _close(got_n, n * math.sqrt(6)):
            raise WrongAnswer(f"{case}: N · D is the compute; it should be a sixth of it")
        if _close(got_n, n / 60):
            raise WrongAnswer(f"{case}: the peak counts seconds, the bill counts hours")
        if _close(got_n, n / math.sqrt(share)):
            raise WrongAnswer(f"{case}: the peak is not reached, only a share of it")
        if _close(got_n, n * math.sqrt(ratio)) or _close(got_n, compute / (6 * ratio)):
            raise WrongAnswer(f"{case}: put D = {ratio} N into C = 6 N D, and solve for N")
        compare(got_n, n, f"N for {case}", rtol=1e-4)
        compare(got_d, ratio * n, f"D for {case}", rtol=1e-4)
    return "the size grows with the root of the compute, and so does the text"


@exercise
def cheapest_for(answer) -> str:
    """``answer(loss, law)``: (N, D) of the least compute that reaches the loss, and (inf, inf) where none does."""
    for law in LAWS:
        e, a, b, alpha, beta = law
        for debt in (0.1, 0.5, 2.0):
            n = (a * (alpha + beta) / (beta * debt)) ** (1 / alpha)
            d = (b * (alpha + beta) / (alpha * debt)) ** (1 / beta)
            got_n, got_d = _several(answer(e + debt, law), "N, D")
            case = f"loss {e + debt:.3f} under {law}"
            if not (got_n > 0 and got_d > 0):
                raise WrongAnswer(f"{case}: N and D are counts, above 0; you returned {got_n:g} and {got_d:g}")
            if _close(got_n, (2 * a / debt) ** (1 / alpha)) and alpha != beta:
                raise WrongAnswer(
                    f"{case}: at the bottom alpha · A / N^alpha equals beta · B / D^beta; the debts differ"
                )
            if _close(got_n, (a * (alpha + beta) / (alpha * debt)) ** (1 / alpha)) and alpha != beta:
                raise WrongAnswer(f"{case}: the debt of size is the share beta / (alpha + beta), not alpha on top")
            if math.isfinite(got_n) and not near(_loss(got_n, got_d, law), e + debt, rtol=1e-3):
                raise WrongAnswer(f"{case}: your N and D give {_loss(got_n, got_d, law):.3f}, not {e + debt:.3f}")
            compare(math.log(got_n), math.log(n), f"ln N for {case}", atol=0.01)
            compare(math.log(got_d), math.log(d), f"ln D for {case}", atol=0.01)
        for loss in (e - 0.1, e):
            got = _several(answer(loss, law), "N, D")
            if got != [math.inf, math.inf]:
                raise WrongAnswer(f"no model reaches {loss}, for the floor is {e}: return (math.inf, math.inf)")
    return "one per cent more parameters gain as much as one per cent more text"


@exercise
def with_floor(answer) -> str:
    """``answer(x, y)`` is (E, A, alpha) of y = E + A / x^alpha, for points that lie on such a curve."""
    for e, a, alpha, n in [(1.5, 20.0, 0.5, 6), (0.8, 5.0, 0.2, 8), (0.0, 10.0, 0.3, 4), (2.0, 300.0, 0.34, 12)]:
        x = np.geomspace(1e3, 1e6, n)
        y = e + a / x**alpha
        got = _several(answer(x.copy(), y.copy()), "E, A, alpha")
        slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
        case = f"{n} points, E = {e}, A = {a}, alpha = {alpha}"
        if e and near(got, [0.0, math.exp(intercept), -slope], atol=0.01, rtol=0.01):
            raise WrongAnswer(f"{case}: this is the straight line; take E off the losses before the logarithm")
        if near(got[2], -alpha, atol=0.005):
            raise WrongAnswer(f"{case}: the exponent stands in the denominator: it is minus the slope")
        if near(got[1], math.log(a), rtol=0.01):
            raise WrongAnswer(f"{case}: the intercept of the line is the logarithm of A")
        compare(got[0], e, f"E for {case}", atol=0.01)
        compare(got[2], alpha, f"alpha for {case}", atol=0.005)
        compare(got[1], a, f"A for {case}", rtol=0.05)
    return "a floor found by search, and a straight line for all the rest"


@exercise
def exponents(answer) -> str:
    """``answer(x, y)`` is (alpha by least squares, alpha by Huber's loss with delta 0.01), on logarithms."""
    for spoilt, factor, alpha in [(7, 1.3, 0.3), (0, 1.3, 0.5), (3, 0.7, 0.1)]:
        x = np.geomspace(1e3, 1e7, 8)
        y = 10.0 / x**alpha * (1 + 0.002 * (-1.0) ** np.arange(8))
        y[spoilt] *= factor
        got = _several(answer(x.copy(), y.copy()), "least squares, Huber")
        squares, bounded = -np.polyfit(np.log(x), np.log(y), 1)[0], _by_huber(x, y)
        case = f"exponent {alpha}, point {spoilt} times {factor}"
        if near(got, [bounded, squares], atol=5e-4):
            raise WrongAnswer(f"{case}: first least squares, then Huber")
        if near(got[1], squares, atol=5e-4):
            raise WrongAnswer(f"{case}: the second is least squares too; beyond 0.01 the loss should be linear")
        if near(got[0], -squares, atol=5e-4):
            raise WrongAnswer(f"{case}: the exponent is minus the slope")
        compare(got[0], squares, f"least squares, {case}", atol=5e-4)
        compare(got[1], bounded, f"Huber, {case}", atol=2e-3)
    return "one bad point turns the line of least squares, and hardly that of Huber"


def _by_huber(x: np.ndarray, y: np.ndarray, delta: float = 0.01) -> float:
    """By least squares again and again, a point that is off by more than delta weighing less."""
    u, v = np.log(x) - np.log(x).mean(), np.log(y)
    line = np.polyfit(u, v, 1)
    for _ in range(2000):
        off = np.abs(v - np.polyval(line, u))
        line = np.polyfit(u, v, 1, w=np.sqrt(delta / np.maximum(off, delta)))
    return -line[0]


@exercise
def break_even(answer) -> str:
    """``answer(n_big, d_big, n_small, law)``: tokens served from which on the small model of equal loss is cheaper."""
    for law in LAWS[:2]:
        e, a, b, alpha, beta = law
        for big, d_big in [(70e9, 1.4e12), (13e9, 3e11), (300e9, 1e11)]:
            for small in [big / 2, big / 1.5]:
                left = _loss(big, d_big, law) - e - a / small**alpha
                d_small = (b / left) ** (1 / beta)
                want = 3 * (small * d_small - big * d_big) / (big - small)
                got = _number(answer(big, d_big, small, law), "tokens")
                case = f"{big:.2g} parameters on {d_big:.2g} tokens against {small:.2g}, law {law}"
                if want > 0 and _close(got, want / 3):
                    raise WrongAnswer(f"{case}: training costs 6 N a token and serving 2 N, three times less")
                if _close(got, d_small):
                    raise WrongAnswer(f"{case}: this is the text that the small model learns from; what do both cost?")
                compare(got / 1e9, max(want, 0.0) / 1e9, f"billions of tokens for {case}", rtol=1e-4)
            floor = (a / (_loss(big, d_big, law) - e)) ** (1 / alpha)
            got = answer(big, d_big, floor / 2, law)
            if not near(got, math.inf):
                raise WrongAnswer(f"no text brings {floor / 2:.2g} parameters to that loss: return math.inf")
    return "a longer training pays if the model is used enough"
