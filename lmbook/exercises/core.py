"""What every checker is made of: a decorator, two comparisons, and an error that a reader can act on."""

import dis
import functools
import inspect
from collections.abc import Callable, Iterator
from numbers import Number

import numpy as np
import torch
from torch import Tensor

NOTHING_YET = "nothing here yet"
NO_RETURN = "your function returned None: is a return missing?"


class WrongAnswer(AssertionError):
    """The answer to an exercise is not right; the message says what to look at."""

    def _render_traceback_(self) -> list[str]:
        """Notebooks show these lines in place of a traceback: the message is what the reader needs."""
        return [f"WrongAnswer: {self}"]


class _Stub(Exception):
    """There is no answer yet."""


def exercise(checker: Callable[..., str]) -> Callable[..., None]:
    """Make a checker out of a function that looks at an answer and returns what it found to be true.

    The checker is called with the reader's answer: a function or a value. A function is handed to the checker so that
    an exception in it becomes a `WrongAnswer` that shows the input, so that it gets copies of its arguments and cannot
    spoil the checker's own, and so that arrays come back as tensors on the CPU. A stub is told that nothing is there
    yet, and the notebook goes on; a wrong answer stops it.
    """
    name = checker.__name__

    @functools.wraps(checker)
    def check(answer, *more) -> None:
        try:
            with torch.random.fork_rng(devices=[]):  # what is drawn here changes nothing in the reader's notebook
                message = checker(*(_guard(value) for value in (answer, *more)))
        except _Stub:
            print(f"○ {name}: {NOTHING_YET}")
            return
        except WrongAnswer as error:
            raise WrongAnswer(f"{name}: {error}") from None
        except Exception as error:
            raise WrongAnswer(f"{name}: {_not_comparable(error)}") from None
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

    Real numbers are compared in float64, within `atol + rtol * |want|`; whole numbers, truth values and anything else
    exactly. Numbers, arrays, tensors on any device and lists of them are alike; 8.0 will do where 8 is wanted.

    Args:
        case: what was computed, in words, such as "the weights of 3 tokens"; it opens the message.
    """
    case = f"{case}: " if case else ""
    if got is None or got is ...:
        raise WrongAnswer(f"{case}expected {describe(want)}, got {got}")
    if (wanted := _tensor(want)) is None:
        return _compare_plain(_plain(got), _plain(want), case)
    if (found := _tensor(got)) is None:
        raise WrongAnswer(f"{case}expected {_kind(want)}, got {describe(got)}")
    if found.shape != wanted.shape:
        raise WrongAnswer(f"{case}expected shape {tuple(wanted.shape)}, got {tuple(found.shape)}")
    if found.is_complex() or (found.dtype == torch.bool) != (wanted.dtype == torch.bool):
        raise WrongAnswer(f"{case}expected {_numbers(wanted)}, got {_numbers(found)} ({str(found.dtype)[6:]})")
    if (differs := ~_equal(found, wanted, atol, rtol)).any():
        index = tuple(differs.nonzero()[0].tolist())
        place = f" at {list(index)}" if index else ""
        count = f" ({int(differs.sum())} of {found.numel()} values differ)" if found.numel() > 1 else ""
        right, wrong = _digits(wanted[index].item(), found[index].item())
        raise WrongAnswer(f"{case}expected {right}{place}, got {wrong}{count}")


def near(got, want, *, atol: float = 1e-6, rtol: float = 1e-5) -> bool:
    """Whether `compare` would accept; for the typical mistakes, which a checker looks for before it compares."""
    try:
        compare(got, want, atol=atol, rtol=rtol)
    except Exception:
        return False
    return True


def describe(value) -> str:
    """A short picture of an argument or an answer: small tensors by value, large ones by shape."""
    if isinstance(value, Tensor | np.ndarray):
        value = torch.as_tensor(value).detach()
        if value.numel() <= 12:
            rounded = value.double().round(decimals=4).tolist() if value.is_floating_point() else value.tolist()
            return f"tensor({rounded})"
        return f"a tensor of shape {tuple(value.shape)}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _guard(answer):
    """The answer as the checker should see it: stubs refused, functions watched, everything else as it is."""
    if answer is None or answer is ... or _is_stub(answer):
        raise _Stub
    if isinstance(answer, type):
        raise WrongAnswer(f"expected a function, got the class {answer.__name__}")
    if not callable(answer):
        return answer

    @functools.wraps(answer)
    def watched(*args, **kwargs):
        shown = ", ".join([describe(a) for a in args] + [f"{k}={describe(v)}" for k, v in kwargs.items()])
        try:
            result = answer(*_copy(args), **_copy(kwargs))
        except (_Stub, WrongAnswer):
            raise
        except Exception as error:
            if isinstance(error, NotImplementedError) and _names(answer, "NotImplementedError"):
                raise _Stub from None  # raised by the stub itself, and not by PyTorch
            kind = type(error).__name__
            raise WrongAnswer(f"called with ({shown}), your code stopped with {kind}: {error}") from None
        if result is None or result is ...:
            raise WrongAnswer(NO_RETURN)
        return _from_numpy(result)

    return watched


def _is_stub(answer) -> bool:
    """A function whose body is `...`, pass or a docstring."""
    if not hasattr(answer, "__code__"):
        return False
    steps = [(i.opname, i.argval) for i in dis.get_instructions(answer) if i.opname not in ("RESUME", "NOP")]
    return steps in ([("LOAD_CONST", None), ("RETURN_VALUE", None)], [("RETURN_CONST", None)])


def _names(answer, name: str) -> bool:
    return name in getattr(getattr(answer, "__code__", None), "co_names", ())


def _not_comparable(error: Exception) -> str:
    if "object is not callable" in str(error):
        return "give me the function itself, not what it returns"
    problem = f"{type(error).__name__}: {error}"
    return f"your answer could not be compared ({problem}); is it of the kind that the text asks for?"


def _copy(value):
    """A copy that may be changed; iterators, models and functions are handed on as they are."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple, set):
        return type(value)(map(_copy, value))
    return {k: _copy(v) for k, v in value.items()} if type(value) is dict else value


def _from_numpy(value):
    """Arrays as tensors, and tensors on the CPU, so that checkers need not ask."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "bif":
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        return value.cpu()
    return type(value)(map(_from_numpy, value)) if type(value) in (list, tuple) else value


def _tensor(value) -> Tensor | None:
    """A number, an array, a tensor or nested lists of them as one tensor; None for anything else, such as words."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, bool | Number | np.generic | np.ndarray):
        array = np.asarray(value)
        return torch.from_numpy(array.copy()) if array.dtype.kind in "bifc" else None
    if isinstance(value, list | tuple) and value:
        parts = [_tensor(part) for part in value]
        if all(part is not None and part.shape == parts[0].shape for part in parts):
            if len({part.dtype == torch.bool for part in parts}) == 1:
                wide = functools.reduce(torch.promote_types, (part.dtype for part in parts))
                return torch.stack([part.to(wide) for part in parts])
    return None


def _equal(got: Tensor, want: Tensor, atol: float, rtol: float) -> Tensor:
    if not want.is_floating_point():
        return got.double() == want.double() if got.is_floating_point() else got == want
    return torch.isclose(got.double(), want.double(), rtol=rtol, atol=atol, equal_nan=True)


def _digits(want, got) -> tuple[str, str]:
    """Both as text, with as many digits as it takes to tell them apart."""
    if isinstance(want, bool):
        return str(want), str(got)
    shown = [f"{x:,}" if isinstance(x, int) else f"{x:.6g}" for x in (want, got)]
    return tuple(shown) if shown[0] != shown[1] else (f"{want:.12g}", f"{got:.12g}")


def _compare_plain(got, want, case: str) -> None:
    if isinstance(want, list) and isinstance(got, list):
        for index, (mine, theirs) in enumerate(zip(got, want, strict=False)):
            if mine != theirs:
                raise WrongAnswer(f"{case}expected {describe(theirs)} at [{index}], got {describe(mine)}")
        if len(got) != len(want):
            raise WrongAnswer(f"{case}expected {len(want)} items, got {len(got)}")
    elif got != want:
        raise WrongAnswer(f"{case}expected {describe(want)}, got {describe(got)}")


def _plain(value):
    """Tuples, iterators, arrays and tensors as lists, at every depth."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        value = value.tolist()
    return [_plain(part) for part in value] if isinstance(value, list | tuple | Iterator) else value


def _numbers(value: Tensor) -> str:
    if value.dtype == torch.bool:
        return "True and False"
    if value.is_complex():
        return "complex numbers"
    return "real numbers" if value.is_floating_point() else "whole numbers"


def _kind(value) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return "a tensor"
    return "a number" if isinstance(value, Number) else "a list"
