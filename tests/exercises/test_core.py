"""The decorator, the comparison and the four-way harness, on a planted exercise."""

import functools

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from lmbook.exercises import WrongAnswer, compare, exercise, exercises_in, near
from lmbook.exercises.core import NOTHING_YET


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


RIGHT = [
    lambda x: [sum(row) for row in x.tolist()],
    lambda x: x.numpy().sum(1),
    lambda x: x.double().sum(1),
    lambda x: x.sum(1).requires_grad_(),
    functools.partial(torch.sum, dim=1),
]

WRONG = [
    (lambda x: x.sum(0), r"the sums of 2 rows: expected shape \(2,\), got \(4,\)"),
    (lambda x: x.mean(1), r"the sums of 2 rows: expected -?[\d.]+ at \[0\], got -?[\d.]+ \(2 of 2 values differ\)"),
    (lambda x: x.rows(), r"called with \(tensor\(\[\[.*\]\]\)\), your code stopped with AttributeError: .*rows"),
]


def test_a_planted_exercise_four_ways(check_four_ways):
    check_four_ways(row_sums, stub=stub, reference=reference, right=RIGHT, wrong=WRONG)


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"wrong": WRONG[:1]}, "at least two"),
        ({"wrong": WRONG[:1] * 2}, "the same message"),
        ({"wrong": [*WRONG[:1], (reference, ".")]}, "DID NOT RAISE"),
        ({"right": []}, "at least one other right answer"),
        ({"right": [WRONG[0][0]]}, "expected shape"),
        ({"wrong": [*WRONG[:1], (lambda x: x, "no such message")]}, "not in:"),
        ({"stub": WRONG[0][0]}, "expected shape"),
        ({"stub": reference}, "the stub should be told so"),
        ({"reference": WRONG[0][0]}, "expected shape"),
    ],
)
def test_the_harness_refuses_a_bad_table(check_four_ways, change, complaint):
    table = {"stub": stub, "reference": reference, "right": RIGHT, "wrong": WRONG} | change
    with pytest.raises((AssertionError, pytest.fail.Exception), match=complaint):
        check_four_ways(row_sums, **table)


def test_stubs_are_recognised(capsys):
    def raises(x):
        raise NotImplementedError

    def documented(x):
        """Sum the rows."""

    def passes(x):
        pass

    for empty in (None, ..., stub, lambda x: None, raises, documented, passes):
        row_sums(empty)
        assert capsys.readouterr().out == f"○ row_sums: {NOTHING_YET}\n"


def test_what_is_no_stub():
    def forgotten(x):
        x.sum(1)

    def pytorch_raises(x):
        raise_inside()

    def raise_inside():
        raise NotImplementedError("not for whole numbers")

    with pytest.raises(WrongAnswer, match="is a return missing"):
        row_sums(forgotten)
    with pytest.raises(WrongAnswer, match="your code stopped with NotImplementedError: not for whole numbers"):
        row_sums(pytorch_raises)


def test_an_answer_of_the_wrong_kind():
    class Sum:
        pass

    with pytest.raises(WrongAnswer, match="expected a function, got the class Sum"):
        row_sums(Sum)
    with pytest.raises(WrongAnswer, match="give me the function itself, not what it returns"):
        row_sums(torch.zeros(2))
    with pytest.raises(WrongAnswer, match="your answer could not be compared"):
        exercise(lambda answer: answer.shape)(3)


def test_an_answer_cannot_spoil_the_checkers_input():
    def spoils(x):
        total = x.sum(1)
        x.zero_()
        return total

    row_sums(spoils)


def test_lists_are_copied_at_every_depth():
    given = [[1, 2], [3]]

    @exercise
    def total(answer):
        compare(answer(given), 6)
        assert given == [[1, 2], [3]]
        return "added"

    total(lambda rows: sum(row.pop() for row in rows for _ in range(len(row))))


def test_a_check_leaves_the_readers_random_numbers_alone():
    def draws(x):
        return x.sum(1) + 0 * torch.rand(())

    torch.manual_seed(0)
    row_sums(draws)
    after = torch.rand(())
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(()))


@pytest.mark.parametrize(
    "got, want, message",
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), r"expected shape \(3, 2\), got \(2, 3\)"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.bool), "expected True and False, got real numbers"),
        (torch.full((2,), 0.5), torch.zeros(2, dtype=torch.long), r"expected 0 at \[0\], got 0.5"),
        (True, 1, "expected whole numbers, got True and False"),
        (7j, 7, "expected whole numbers, got complex numbers"),
        ("7", 7, "expected a number, got '7'"),
        (124_441_000, 124_440_000, "expected 124,440,000, got 124,441,000"),
        (torch.zeros(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool), r"expected True at \[0\], got False"),
        (0.123456789, 0.12345678, "expected 0.12345678, got 0.123456789"),
        (torch.tensor([1.0, torch.nan]), torch.ones(2), r"expected 1 at \[1\], got nan \(1 of 2"),
        (torch.tensor([1.0, 1.0 + 1e-4]), torch.ones(2), r"expected 1 at \[1\], got 1.0001"),
        (np.ones((2, 2)) * 2, torch.ones(2, 2).double(), r"at \[0, 0\], got 2"),
        (0.5, 0.25, "expected 0.25, got 0.5"),
        ("three", 3, "expected a number, got 'three'"),
        ("cat", "dog", "expected 'dog', got 'cat'"),
        ([1, 2, 4], [1, 2, 3], r"expected 3 at \[2\], got 4"),
        (["a"], ["a", "b"], "expected 2 items, got 1"),
        ([[1, 2], [3]], torch.zeros(2, 2), "expected a tensor, got"),
        (None, 3, "expected 3, got None"),
    ],
)
def test_compare_says_what_differs(got, want, message):
    with pytest.raises(WrongAnswer, match=message):
        compare(
            got, want, rtol=1e-9 if isinstance(want, float) else 1e-5, atol=1e-12 if isinstance(want, float) else 1e-6
        )
    assert not near(got, want, rtol=1e-9, atol=1e-12)


def test_compare_accepts_what_is_equal():
    compare(torch.tensor([1.0, torch.nan, torch.inf]), torch.tensor([1.0, torch.nan, torch.inf]))
    compare(torch.ones(2), torch.ones(2).double())
    compare(torch.tensor(2), 2)
    compare(8.0, 8)  # a count may be a real number
    compare(0, 0.0)  # and a real number may be whole
    compare(np.float64(48760.4972), 48760.4972, rtol=1e-12, atol=0)  # not by way of float32
    compare([[True, False]], torch.tensor([[True, False]]))
    compare([torch.tensor(1.0), 2], torch.tensor([1.0, 2.0]))
    compare((x for x in "ab"), ["a", "b"])
    compare(torch.tensor([5, 2]), [5, 2])
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
