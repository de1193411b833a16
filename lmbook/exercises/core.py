"""What every checker is made of: a decorator, a comparison, and an error that a reader can act on."""

import functools
import inspect
from collections.abc import Callable, Sequence
from numbers import Number

import numpy as np
import torch
from torch import Tensor

NOTHING_YET = "nothing here yet. Replace the stub with your own code and call me again."


class WrongAnswer(AssertionError):
    """The answer to an exercise is not right; the message says what to look at."""

    def _render_traceback_(self) -> list[str]:
        """Notebooks show these lines in place of a traceback: the message is what the reader needs."""
        return [f"WrongAnswer: {self}"]


def exercise(checker: Callable[..., str]) -> Callable[..., None]:
    """Make a checker out of a function that looks at an answer and returns what it found to be true.

    The checker is called with the reader's answer: a function, a class or a value. A function is handed to the
    checker so that an exception in it becomes a `WrongAnswer` that shows the input, and so that it gets copies of
    its tensors and cannot spoil the checker's own.
    """
    name = checker.__name__

    @functools.wraps(checker)
    def check(answer, *more) -> None:
        try:
            with torch.random.fork_rng(devices=[]):  # what is drawn here changes nothing in the reader's notebook
                message = checker(*(_guard(value) for value in (answer, *more)))
        except WrongAnswer as error:
            raise WrongAnswer(f"{name}: {error}") from None
        except NotImplementedError:
            raise WrongAnswer(f"{name}: {NOTHING_YET}") from None
        except Exception as error:
            raise WrongAnswer(f"{name}: your code stopped with {type(error).__name__}: {error}") from None
        print(f"✓ {name}: {message}")

    check.is_exercise = True
    return check


def exercises_in(module) -> dict[str, Callable[..., None]]:
    """The checkers that a chapter's module defines, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "is_exercise", False) and value.__module__ == module.__name__
    }


def compare(got, want, case: str = "", *, atol: float = 1e-6, rtol: float = 1e-5) -> None:
    """Raise `WrongAnswer` unless `got` is `want`, saying where they first differ.

    Numbers and tensors are compared in float64, within `atol + rtol * |want|`; anything else with ``==``.

    Args:
        case: what was computed, in words, such as "the weights of 3 tokens"; it opens the message.
    """
    case = f"{case}: " if case else ""
    if got is None or got is ...:
        raise WrongAnswer(NOTHING_YET)
    if not _is_numeric(want):
        return _compare_plain(got, want, case)
    if not _is_numeric(got):
        raise WrongAnswer(f"{case}expected {_kind(want)}, got {describe(got)}")
    got, want = _tensor(got), _tensor(want)
    if got.shape != want.shape:
        raise WrongAnswer(f"{case}expected shape {tuple(want.shape)}, got {tuple(got.shape)}")
    if _numbers(got) != _numbers(want):
        raise WrongAnswer(f"{case}expected {_numbers(want)}, got {_numbers(got)} ({str(got.dtype).split('.')[-1]})")
    got, want = got.double(), want.double()
    differs = ~torch.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    if differs.any():
        index = tuple(differs.nonzero()[0].tolist())
        place = f" at {list(index)}" if index else ""
        count = f" ({int(differs.sum())} of {got.numel()} values differ)" if got.numel() > 1 else ""
        raise WrongAnswer(f"{case}expected {want[index]:.6g}{place}, got {got[index]:.6g}{count}")


def describe(value) -> str:
    """A short picture of an argument or an answer: small tensors by value, large ones by shape."""
    if isinstance(value, Tensor | np.ndarray):
        value = torch.as_tensor(value).detach()
        if value.numel() <= 12:
            rounded = value.double().round(decimals=4).tolist() if value.is_floating_point() else value.tolist()
            return f"tensor({rounded})"
        return f"a tensor of shape {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _guard(answer):
    """The answer as the checker should see it: stubs refused, functions watched, everything else as it is."""
    if answer is None or answer is ...:
        raise WrongAnswer(NOTHING_YET)
    if not (inspect.isroutine(answer) or isinstance(answer, functools.partial)):
        return answer

    def watched(*args, **kwargs):
        shown = ", ".join([describe(a) for a in args] + [f"{k}={describe(v)}" for k, v in kwargs.items()])
        args = [a.clone() if isinstance(a, Tensor) else a for a in args]
        kwargs = {k: v.clone() if isinstance(v, Tensor) else v for k, v in kwargs.items()}
        try:
            result = answer(*args, **kwargs)
        except (NotImplementedError, WrongAnswer):
            raise
        except Exception as error:
            kind = type(error).__name__
            raise WrongAnswer(f"called with ({shown}), your code stopped with {kind}: {error}") from None
        if result is None or result is ...:
            raise WrongAnswer(NOTHING_YET)
        return result

    watched.__name__ = getattr(answer, "__name__", "answer")
    return watched


def _compare_plain(got, want, case: str) -> None:
    if isinstance(want, list | tuple) and isinstance(got, list | tuple):
        for index, (mine, theirs) in enumerate(zip(got, want, strict=False)):
            if mine != theirs:
                raise WrongAnswer(f"{case}expected {describe(theirs)} at [{index}], got {describe(mine)}")
        if len(got) != len(want):
            raise WrongAnswer(f"{case}expected {len(want)} items, got {len(got)}")
    elif got != want:
        raise WrongAnswer(f"{case}expected {describe(want)}, got {describe(got)}")


def _is_numeric(value) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return bool(value) and all(isinstance(v, float) or _is_numeric(v) and isinstance(v, Sequence) for v in value)
    return isinstance(value, Tensor | np.ndarray | Number)


def _tensor(value) -> Tensor:
    return value.detach().cpu() if isinstance(value, Tensor) else torch.as_tensor(value)


def _numbers(value: Tensor) -> str:
    if value.dtype == torch.bool:
        return "True and False"
    return "real numbers" if value.is_floating_point() else "whole numbers"


def _kind(value) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return "a tensor"
    return "a number" if isinstance(value, Number) else "a list"
