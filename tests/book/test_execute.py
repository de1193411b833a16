"""scripts/execute.py: whole or not at all, from a clean kernel, and the same bytes every time."""

import importlib.util
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

spec = importlib.util.spec_from_file_location("execute", Path(__file__).parents[2] / "scripts" / "execute.py")
execute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute)

SOURCES = [
    "import os, sys, time\nfor i in range(3):\n    print(i, flush=True)\n    print('.', file=sys.stderr, flush=True)",
    "print(sorted(p for p in os.listdir() if not p.startswith('.')))",
    "1 + 1",
    "1 + 1",
    "assert i == 2\n1 / 0",
]


@pytest.fixture
def path(tmp_path):
    """A notebook as an editor leaves it: run out of order elsewhere, full of metadata."""
    cells = [new_markdown_cell("# Title"), *map(new_code_cell, SOURCES)]
    cells[-1].metadata = {"tags": ["raises-exception"], "execution": {"iopub.execute_input": "2026"}, "collapsed": True}
    metadata = {"language_info": {"name": "python", "version": "3.9"}, "widgets": {}, "lmbook": {"data": []}}
    path = tmp_path / "page.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_it_stores_what_the_cells_print_and_nothing_of_the_machine(path, capsys):
    assert execute.main([str(path)]) == 0
    first = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(first, as_version=4)
    code = notebook.cells[1:]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5]
    assert [dict(output) for output in code[0].outputs] == [
        {"name": "stdout", "output_type": "stream", "text": "0\n1\n2\n"}
    ]
    assert code[1].outputs[0].text == "['page.ipynb']\n", "the working folder is the notebook's own"
    assert code[2].outputs[0].data == {"text/plain": "2"} and code[2].id != code[3].id
    assert code[4].outputs[0].evalue == "division by zero" and code[4].metadata == {"tags": ["raises-exception"]}
    assert "\x1b" not in "".join(code[4].outputs[0].traceback)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "lmbook": {"data": []},
    }
    assert first.endswith("}\n") and not first.endswith("\n\n")
    assert execute.main([str(path)]) == 0
    assert path.read_text(encoding="utf-8") == first
    assert [p.name for p in path.parent.iterdir()] == ["page.ipynb"]


@pytest.mark.parametrize(
    "source, complaint",
    [
        ("{}['missing']", "KeyError: 'missing'"),
        ("import os\nos._exit(1)", "DeadKernelError|Kernel died"),
        ("(", "Syntax"),
    ],
)
def test_a_cell_that_fails_leaves_the_file_as_it_was(path, capsys, source, complaint):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(3, new_code_cell(source))
    nbformat.write(notebook, path)
    before = path.read_bytes()
    assert execute.main([str(path)]) == 1
    said = capsys.readouterr().err
    assert "page.ipynb: cell 4 of 7 failed" in said and source in said and "left as it was" in said
    assert any(part in said for part in complaint.split("|"))
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["page.ipynb"]


def test_a_cell_that_never_ends_is_stopped(path, capsys):
    nbformat.write(new_notebook(cells=[new_code_cell("while True:\n    pass")]), path)
    assert execute.main([str(path), "--timeout", "2"]) == 1
    assert "cell 1 of 1 failed" in capsys.readouterr().err


def test_a_percent_script_becomes_a_notebook(tmp_path):
    script = tmp_path / "page.py"
    script.write_text(
        "# ---\n# jupyter:\n#   lmbook: {data: [gensim]}\n# ---\n\n# %% [markdown]\n# # Title\n\n"
        '# %% tags=["hide-input"] mystnb={"image": {"alt": "A line that falls"}}\nprint(6 * 7)\n'
    )
    out = tmp_path / "book" / "page.ipynb"
    assert execute.main([str(script), "--out", str(out)]) == 0
    notebook = nbformat.read(out, as_version=4)
    assert [cell.source for cell in notebook.cells] == ["# Title", "print(6 * 7)"]
    assert notebook.cells[1].metadata == {"tags": ["hide-input"], "mystnb": {"image": {"alt": "A line that falls"}}}
    assert notebook.cells[1].outputs[0].text == "42\n" and notebook.metadata["lmbook"] == {"data": ["gensim"]}


@pytest.mark.parametrize("arguments", [["a.py"], ["a.txt"], ["a.ipynb", "b.ipynb", "--out", "c.ipynb"]])
def test_arguments_that_make_no_sense_are_refused(arguments):
    with pytest.raises(SystemExit) as stopped:
        execute.main(arguments)
    assert stopped.value.code == 2


def test_the_code_of_a_solution_is_folded(tmp_path):
    cells = ["# %%\n1", "# %% [markdown]\n# ::::{solution-start} ex-a\n# ::::", "# %%\n2", "# %%\n3"]
    cells += ["# %% [markdown]\n# ::::{solution-end}\n# ::::", '# %% lmbook={"opposites": []} jupyter={"x": 1}\n4']
    (tmp_path / "page.py").write_text("\n\n".join(cells))
    assert execute.main([str(tmp_path / "page.py"), "--out", str(tmp_path / "page.ipynb")]) == 0
    code = [cell for cell in nbformat.read(tmp_path / "page.ipynb", 4).cells if cell.cell_type == "code"]
    assert [bool(cell.metadata.get("jupyter")) for cell in code] == [False, True, True, False]
    assert code[1].metadata == {"jupyter": {"source_hidden": True}}
