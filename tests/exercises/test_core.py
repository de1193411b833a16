"""The decorator, the comparison and the three-way harness, on a planted exercise."""

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from lmbook.exercises import WrongAnswer, compare, exercise, exercises_in


@exercise
def row_sums(answer):
    """Sum the rows of a matrix."""
    generator = torch.Generator().manual_seed(0)
    for rows in (2, 3):
        x = torch.randn(rows, 4, generator=generator)
        compare(answer(x), x.sum(1), f"the sums of {rows} rows")
    return "every row is summed"


def stub(x): ...  # your code


def reference(x):
    return x.sum(1)


WRONG = [
    (lambda x: x.sum(0), r"the sums of 2 rows: expected shape \(2,\), got \(4,\)"),
    (lambda x: x.mean(1), r"the sums of 2 rows: expected -?[\d.]+ at \[0\], got -?[\d.]+ \(2 of 2 values differ\)"),
    (lambda x: x.rows(), r"called with \(tensor\(\[\[.*\]\]\)\), your code stopped with AttributeError: .*rows"),
]


def test_a_planted_exercise_three_ways(check_four_ways):
    check_four_ways(row_sums, stub=stub, reference=reference, wrong=WRONG)


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"wrong": WRONG[:1]}, "at least two"),
        ({"wrong": WRONG[:1] * 2}, "the same message"),
        ({"wrong": [*WRONG[:1], (reference, ".")]}, "DID NOT RAISE"),
        ({"wrong": [*WRONG[:1], (stub, ".")]}, "taken for a stub"),
        ({"wrong": [*WRONG[:1], (lambda x: x, "no such message")]}, "not in:"),
        ({"stub": WRONG[0][0]}, "the stub should be told so"),
        ({"stub": reference}, "DID NOT RAISE"),
        ({"reference": WRONG[0][0]}, "expected shape"),
    ],
)
def test_the_harness_refuses_a_bad_table(check_four_ways, change, complaint):
    table = {"stub": stub, "reference": reference, "wrong": WRONG} | change
    with pytest.raises((AssertionError, pytest.fail.Exception), match=complaint):
        check_four_ways(row_sums, **table)


def test_stubs_are_recognised():
    def raises(x):
        raise NotImplementedError

    for empty in (None, ..., stub, lambda x: None, raises):
        with pytest.raises(WrongAnswer, match="row_sums: nothing here yet"):
            row_sums(empty)


def test_an_answer_cannot_spoil_the_checkers_input():
    def spoils(x):
        total = x.sum(1)
        x.zero_()
        return total

    row_sums(spoils)


def test_a_check_leaves_the_readers_random_numbers_alone():
    def draws(x):
        return x.sum(1) + 0 * torch.rand(())

    torch.manual_seed(0)
    row_sums(draws)
    after = torch.rand(())
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(()))


def test_an_exception_outside_a_watched_function_is_the_readers_too():
    with pytest.raises(WrongAnswer, match="row_sums: your code stopped with TypeError"):
        row_sums(3)


@pytest.mark.parametrize(
    "got, want, message",
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), r"expected shape \(3, 2\), got \(2, 3\)"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.bool), "expected True and False, got real numbers"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.long), "expected whole numbers, got real numbers"),
        (torch.tensor([1.0, torch.nan]), torch.ones(2), r"expected 1 at \[1\], got nan \(1 of 2"),
        (torch.tensor([1.0, 1.0 + 1e-4]), torch.ones(2), r"expected 1 at \[1\], got 1.0001"),
        (np.ones((2, 2)) * 2, torch.ones(2, 2).double(), r"at \[0, 0\], got 2"),
        (0.5, 0.25, "expected 0.25, got 0.5"),
        ("three", 3, "expected a number, got 'three'"),
        ("cat", "dog", "expected 'dog', got 'cat'"),
        ([1, 2, 4], [1, 2, 3], r"expected 3 at \[2\], got 4"),
        (["a"], ["a", "b"], "expected 2 items, got 1"),
        (None, 3, "nothing here yet"),
    ],
)
def test_compare_says_what_differs(got, want, message):
    with pytest.raises(WrongAnswer, match=message):
        compare(got, want)


def test_compare_accepts_what_is_equal():
    compare(torch.tensor([1.0, torch.nan, torch.inf]), torch.tensor([1.0, torch.nan, torch.inf]))
    compare(torch.ones(2), torch.ones(2).double())
    compare(torch.tensor(2), 2)
    compare([1, 2], [1, 2])
    compare("cat", "cat")
    compare(torch.ones(2, requires_grad=True), torch.ones(2))


def test_a_notebook_shows_the_message_alone(capsys):
    shell = InteractiveShell.instance()
    shell.run_cell("from lmbook.exercises import WrongAnswer\nraise WrongAnswer('look at the first row')")
    shown = capsys.readouterr().out
    assert "look at the first row" in shown and "Traceback" not in shown


def test_exercises_are_found_in_the_module_that_defines_them():
    import types

    module = types.ModuleType("tests_planted")
    planted = exercise(lambda answer: "fine")
    planted.__module__ = "tests_planted"
    module.planted, module.borrowed, module.helper = planted, row_sums, compare
    assert exercises_in(module) == {"planted": planted}
