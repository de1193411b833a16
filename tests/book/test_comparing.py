"""How cells are compared: the tolerance that a cell declares, over nbval's own comparison."""

import sys
from math import inf
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import comparing  # noqa: E402


@pytest.mark.parametrize(
    "source, declared",
    [
        ("# compared within 0.05\nf()", (0.05, False)),
        ("x = 1\n# compared within 3 %\nf()", (0.03, True)),
        ("# compared within 1e-5\nf()", (1e-5, False)),
        ("f()  # compared within 0.05", None),
        ("# compared within about 0.05", None),
        ("f()", None),
    ],
)
def test_a_declaration(source, declared):
    assert comparing.tolerance(source) == pytest.approx(declared) if declared else comparing.tolerance(source) is None


@pytest.mark.parametrize(
    "got, want, relative, apart",
    [
        ("loss 5.218, 98 %", "loss 5.204, 99 %", False, 1),
        ("loss 5.2", "loss 5.0", True, 0.04),
        ("  9.98|", " 10.02|", False, 0.04),
        ("1,234,567 words", "1,234,568 words", False, 1),
        ("[-0.01, 0.02]", "[0.01, 0.02]", False, 0.02),
        ("1e-3 2.5e+2", "2e-3 2.5e+2", False, 1e-3),
        ("A3 at 2020-10", "A3 at 2020-10", False, 0),
        ("A3", "A4", False, inf),  # a name
        ("loss nan", "loss 5.0", False, inf),
        ("1 2 3", "1 2", False, inf),
        ("loss 5.0", "Loss 5.0", False, inf),
        ("3 x", "0 x", True, 3),
    ],
)
def test_a_difference(got, want, relative, apart):
    assert comparing.difference(got, want, relative=relative) == pytest.approx(apart)


@pytest.mark.parametrize(
    "source, stored, passes",
    [
        ("# compared within 0.05\nprint('loss 5.21')", "loss 5.24\n", True),
        ("# compared within 0.05\nprint('loss 5.21')", "loss 5.27\n", False),
        ("# compared within 1 %\nprint('loss 5.21')", "loss 5.25\n", True),
        ("# compared within 1 %\nprint('loss 5.21')", "loss 5.27\n", False),
        ("# compared within 0.05\nprint('loss 5.21')", "Loss 5.21\n", False),
        ("# compared within 0.05\nprint('loss 5.21')\nprint('and 3')", "loss 5.21\n", False),
        ("# compared within 9\nimport sys\nprint('50%', file=sys.stderr)\nprint('loss 5')", "loss 6\n", True),
        ("print('loss 5.21')", "loss 5.22\n", False),
        ("print('loss 5.21')", "loss 5.21\n", True),
    ],
)
def test_nbval_compares_within_the_tolerance(pytester, source, stored, passes):
    pytester.makeconftest(
        (ROOT / "conftest.py").read_text().replace('Path(__file__).parent / "scripts"', f'"{ROOT}/scripts"')
    )
    cell = new_code_cell(source, execution_count=1, outputs=[new_output("stream", name="stdout", text=stored)])
    nbformat.write(new_notebook(cells=[cell]), pytester.path / "page.ipynb")
    result = pytester.runpytest_subprocess("page.ipynb", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=int(passes), failed=int(not passes))


def test_cells_are_counted():
    printed = new_output("stream", name="stdout", text="1\n")
    ignored = new_code_cell("f()", outputs=[printed], metadata={"tags": [comparing.IGNORED]})
    cells = [new_code_cell("f()", outputs=[printed]), new_code_cell("f()"), ignored]
    cells += [new_code_cell("# compared within 1\nf()", outputs=[printed])] * 2
    counts = comparing.count([new_notebook(cells=cells)])
    assert counts == {"exact": 1, "within a tolerance": 2, "not compared": 1}
