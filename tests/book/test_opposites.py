"""The opposite of a claim is planted in its chapter, and the assert beside the claim fails."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]
FEWEST, FEWEST_IN_A_CHAPTER = 40, 3


def opposites(path):
    cells = nbformat.read(path, as_version=4).cells
    return [planted for cell in cells for planted in cell.metadata.get("lmbook", {}).get("opposites", [])]


CHAPTERS = {path: opposites(path) for path in sorted((ROOT / "book").glob("*/*.ipynb"))}


def run(path):
    command = [sys.executable, str(ROOT / "scripts" / "opposites.py"), str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_opposite_of_a_claim_is_refused(path):
    done = run(path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_enough_claims_have_an_opposite():
    assert sum(map(len, CHAPTERS.values())) >= FEWEST
    assert not [path.stem for path, found in CHAPTERS.items() if len(found) < FEWEST_IN_A_CHAPTER]


def planted(claim, new, **more):
    return {"opposites": [{"claim": claim, "old": "x < 2", "new": new, **more}]}


def page(tmp_path, *opposites, after="y = 1"):
    cells = [new_code_cell("import torch\nx = torch.ones(1)")]
    cells += [new_code_cell("%time x = x\nassert x < 2\nx += 0.5", metadata={"lmbook": o}) for o in opposites]
    nbformat.write(new_notebook(cells=[*cells, new_code_cell(after)]), tmp_path / "page.ipynb")
    return run(tmp_path / "page.ipynb")


def test_a_claim_that_is_asserted(tmp_path):
    done = page(tmp_path, planted("x is small", "x < 0"), planted("x is still small", "x < 1.5"))
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "opposite, after, complaint",
    [
        (planted("x is small", "x < 3"), "y = 1", "x is small: no assert failed"),
        (planted("x is small", "z < 3"), "y = 1", "x is small: NameError: name 'z' is not defined"),
        (planted("x is small", "(x < 3"), "y = 1", "x is small: SyntaxError"),
        (planted("x is small", "x < 3"), "assert False", "x is small: no assert failed"),
    ],
)
def test_a_claim_that_is_not(tmp_path, opposite, after, complaint):
    done = page(tmp_path, opposite, after=after)
    assert done.returncode == 1 and complaint in done.stdout, done.stdout + done.stderr


def test_the_assert_may_stand_in_a_later_cell(tmp_path):
    done = page(tmp_path, planted("x is small", "x < 3", cells=1), after="assert False")
    assert done.returncode == 0, done.stdout + done.stderr
