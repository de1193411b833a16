"""Every exercise is tested three ways: the stub fails, the reference passes, typical wrong answers fail by name."""

import re

import pytest

from lmbook.exercises import WrongAnswer
from lmbook.exercises.core import NOTHING_YET


def _three_ways(checker, *, stub, reference, wrong, capsys) -> None:
    assert len(wrong) >= 2, f"{checker.__name__}: give at least two typical wrong answers"
    capsys.readouterr()
    checker(reference)
    printed = capsys.readouterr().out
    assert printed.startswith(f"✓ {checker.__name__}: ") and printed.count("\n") == 1, printed

    with pytest.raises(WrongAnswer) as caught:
        checker(stub)
    assert NOTHING_YET in str(caught.value), f"{checker.__name__}: the stub should be told so, got: {caught.value}"

    seen = set()
    for answer, message in wrong:
        with pytest.raises(WrongAnswer) as caught:
            checker(answer)
        text = str(caught.value)
        assert text.startswith(f"{checker.__name__}: ") and re.search(message, text), f"{message!r} not in: {text}"
        assert NOTHING_YET not in text, f"{checker.__name__}: a wrong answer was taken for a stub"
        assert text not in seen, f"{checker.__name__}: two wrong answers get the same message: {text}"
        seen.add(text)
    assert not capsys.readouterr().out, f"{checker.__name__}: a wrong answer must print no ✓"


@pytest.fixture
def check_three_ways(capsys):
    """Call with (checker, stub=, reference=, wrong=[(answer, "regular expression of its message"), ...])."""
    return lambda checker, **table: _three_ways(checker, **table, capsys=capsys)
