"""Each assert on a trained quantity stands at least four spreads from failing, as measured over several processors."""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import measuring  # noqa: E402
import portable  # noqa: E402
from comparing import cell_id, tolerance, tree  # noqa: E402

#: Chapters that have not been measured since they were last rewritten: run scripts/portable.py, and take them off.
WAITING = {
    "language-models", "word-embeddings", "positional-encoding", "transformer", "objectives", "pretraining", "decoding",
    "scaling-laws",
}  # fmt: skip
NOTEBOOKS = sorted(path for path in (ROOT / "book").rglob("*.ipynb") if path.stem not in WAITING)


def unmeasured(notebook, measured):
    """Cells that assert an order or declare a tolerance and that the last measurement has not seen as they are now."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            name = cell_id(cell.source)
            if measuring.Asserts.compares(cell.source) and name not in {*measured["asserts"], *measured["no numbers"]}:
                yield f"an assert: {cell.source[:60]!r}"
            if tolerance(cell.source) and measured["within"].get(name, {}).get("declared") is None:
                yield f"a tolerance: {cell.source[:60]!r}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_was_measured_and_its_asserts_bear_it(path):
    measured = json.loads((portable.MARGINS / f"{path.stem}.json").read_text(encoding="utf-8"))
    again = f"run scripts/portable.py {path.relative_to(ROOT)}"
    assert not (found := list(unmeasured(nbformat.read(path, as_version=4), measured))), f"{again}\n" + "\n".join(found)
    assert not (found := portable.weak(measured)), "\n".join(found)
    assert len(measured["runs"]) >= portable.FEWEST


def test_no_measurement_without_a_chapter_and_no_chapter_twice():
    """A chapter is measured or waits to be; it does not wait when it was measured."""
    assert sorted(path.stem for path in portable.MARGINS.iterdir()) == sorted(path.stem for path in NOTEBOOKS)
    assert {path.stem for path in (ROOT / "book").rglob("*.ipynb")} >= WAITING


@pytest.mark.parametrize(
    "slack, complains",
    [
        ({"mean": 0.4, "spread": 0.1, "runs": 6}, False),
        ({"mean": 0.39, "spread": 0.1, "runs": 6}, True),
        ({"mean": -1.0, "spread": 0.0, "runs": 6}, True),
        ({"mean": 1.0, "spread": 0.0, "runs": 4}, True),
        ({"mean": "nan", "spread": 0.0, "runs": 6}, True),
    ],
)
def test_a_weak_assert_is_noticed(slack, complains):
    assert bool(portable.weak({"asserts": {"cell": {"a < b": slack}}, "within": {}})) == complains


@pytest.mark.parametrize("greatest, complains", [(0.02, False), (0.03, True), ("inf", True)])
def test_a_tight_tolerance_is_noticed(greatest, complains):
    measured = {"asserts": {}, "within": {"cell": {"declared": 0.05, "greatest": greatest}}}
    assert bool(portable.weak(measured)) == complains


SLACKS = [
    ("assert 3 < 5", {"3 < 5": 2}),
    ("assert 5 >= 3.5", {"5 >= 3.5": 1.5}),
    ("assert 1 < x < 4", {"1 < x < 4": 1}),
    ("assert x > 1 and y < 9", {"x > 1": 2, "y < 9": 4}),
    ("assert all(n < 9 for n in (3, 5))", {"n < 9": 4}),
    ("assert (t < 9).all()", {"t < 9": 6}),
    ("assert bool(t[0] < 9)", {"t[0] < 9": 8}),
    ("assert not x > 4", {}),
    ("assert x == 3", {}),
    ("assert 'a' < 'b'", {}),
]


@pytest.mark.parametrize("source, want", SLACKS)
def test_slack_is_recorded_and_the_assert_means_the_same(source, want, tmp_path):
    import torch

    recorder = measuring.Recorder(tmp_path / "slack")
    names = {"x": 3, "y": 5, "t": torch.tensor([1.0, 3.0]), "__lmbook_slack__": recorder.slack}
    exec(compile(measuring.Asserts().visit(tree(source)), "cell", "exec"), names)
    assert recorder.least == pytest.approx(want)


@pytest.mark.parametrize(
    "source", ["assert 5 < 3", "assert 1 < x < 2", "assert all(n < 4 for n in (3, 5))", "assert (t > 2).all()"]
)
def test_an_assert_that_fails_still_fails(source, tmp_path):
    import torch

    recorder = measuring.Recorder(tmp_path / "slack")
    names = {"x": 3, "t": torch.tensor([1.0, 3.0]), "__lmbook_slack__": recorder.slack}
    with pytest.raises(AssertionError):
        exec(compile(measuring.Asserts().visit(tree(source)), "cell", "exec"), names)
    assert min(recorder.least.values()) < 0


def test_a_run_is_measured(tmp_path):
    """A planted page, run natively: a failing comparison of text, a slack, a tolerance and a jittered optimizer."""
    source = "import torch\nw = torch.ones(1, requires_grad=True)\n(0 * w).sum().backward()\n"
    source += "torch.optim.SGD([w], 1).step()\n"
    sources = [source + "print(w.item() == 1)\nassert w.item() > 0.5", "# compared within 0.5\nprint(3)", "print(4)"]
    cells = [new_code_cell(text, execution_count=1) for text in sources]
    for cell, stored in zip(cells, ["True\n", "3.2\n", "5\n"], strict=True):
        cell.outputs = [nbformat.v4.new_output("stream", text=stored)]
    path = ROOT / "build" / "planted.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    try:
        native, rounded = (portable.run(path, name, tmp_path) for name in ("native", "rounding-1"))
    finally:
        path.unlink()
    assert list(native["failed"]) == ["Cell 2"] and list(rounded["failed"]) == ["Cell 0", "Cell 2"]
    assert native["slack"][0][1:] == ["w.item() > 0.5", 0.5] and rounded["slack"][0][2] != 0.5
    assert list(native["greatest"].values()) == pytest.approx([0.2])
