"""Every exercise of the book stands in the table of its chapter, tests/exercises/test_<chapter>.py.

Such a file holds a list named TABLE of (checker, {"stub": ..., "reference": ..., "wrong": [...]}), and a test that
hands each entry to the fixture check_four_ways.
"""

import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

import lmbook.exercises
from lmbook.exercises import exercise, exercises_in

CHAPTERS = [module.name for module in pkgutil.iter_modules(lmbook.exercises.__path__) if module.name != "core"]


def missing(checkers: dict, table: list) -> set[str]:
    """The names of the checkers that no entry of the table tests."""
    return set(checkers) - {checker.__name__ for checker, _ in table}


def table_of(path: Path) -> list:
    spec = importlib.util.spec_from_file_location(f"table_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TABLE


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_is_tested_three_ways(chapter):
    path = Path(__file__).parent / f"test_{chapter}.py"
    assert path.exists(), f"lmbook/exercises/{chapter}.py has no {path.name} beside this file"
    assert "check_four_ways(" in path.read_text(encoding="utf-8"), f"{path.name} never calls check_four_ways"
    checkers = exercises_in(importlib.import_module(f"lmbook.exercises.{chapter}"))
    assert checkers, f"lmbook/exercises/{chapter}.py defines no exercise"
    untested = missing(checkers, table_of(path))
    assert not untested, f"{path.name} does not test {sorted(untested)}"


def test_a_missing_entry_is_noticed():
    tested, untested = exercise(lambda answer: "fine"), exercise(lambda answer: "fine")
    tested.__name__, untested.__name__ = "tested", "untested"
    assert missing({"tested": tested, "untested": untested}, [(tested, {})]) == {"untested"}
