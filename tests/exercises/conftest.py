"""Every exercise is tested four ways: stub, reference, other right answers, typical wrong answers."""

import re

import pytest

from lmbook.exercises import WrongAnswer
from lmbook.exercises.core import NOTHING_YET


def _four_ways(checker, *, stub, reference, right, wrong, capsys) -> None:
    name = checker.__name__
    assert len(right) >= 1, f"{name}: give at least one other right answer"
    assert len(wrong) >= 2, f"{name}: give at least two typical wrong answers"
    capsys.readouterr()
    for answer in (reference, *right):
        checker(answer)
        printed = capsys.readouterr().out
        assert printed.startswith(f"✓ {name}: ") and printed.count("\n") == 1, printed

    checker(stub)
    printed = capsys.readouterr().out
    assert printed == f"○ {name}: {NOTHING_YET}\n", f"{name}: the stub should be told so, got: {printed}"

    seen = set()
    for answer, message in wrong:
        with pytest.raises(WrongAnswer) as caught:
            checker(answer)
        text = str(caught.value)
        assert text.startswith(f"{name}: ") and re.search(message, text), f"{message!r} not in: {text}"
        assert text not in seen, f"{name}: two wrong answers get the same message: {text}"
        seen.add(text)
    assert not capsys.readouterr().out, f"{name}: a wrong answer must print nothing"


@pytest.fixture
def check_four_ways(capsys):
    """Call with (checker, stub=, reference=, right=[answer, ...], wrong=[(answer, "regex of its message"), ...])."""
    return lambda checker, **table: _four_ways(checker, **table, capsys=capsys)
