"""Run notebooks in a clean kernel, in order, and store what they print.

    python scripts/execute.py book/transformer/attention.ipynb ...
    python scripts/execute.py scratch/attention.py --out book/transformer/attention.ipynb

The second form reads a Jupytext percent script. A notebook is written whole or, if a cell fails, not at all.
What is stored does not depend on the machine: no versions, no timings, no progress bars, cell ids from the source.
"""

import argparse
import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT_OF_A_CELL = ("tags", "mystnb", "lmbook")
KEPT_OF_A_NOTEBOOK = ("lmbook",)
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class CellFailed(Exception):
    """A cell raised, timed out or killed its kernel; the message says which and how."""


def read(source: Path) -> nbformat.NotebookNode:
    """A notebook as nbformat 4.5, from an .ipynb file or a Jupytext percent script."""
    if source.suffix == ".py":
        return nbformat.convert(jupytext.read(source, fmt="py:percent"), 4)
    return nbformat.read(source, as_version=4)


def execute(notebook: nbformat.NotebookNode, folder: Path, *, timeout: int = 900) -> None:
    """Run every cell from a clean kernel in `folder`, in place; raise CellFailed at the first that fails."""
    started = []
    client = NotebookClient(
        notebook,
        kernel_name=KERNEL["name"],
        timeout=timeout,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],  # else each kernel warns that it is not encrypted
        on_cell_execute=lambda cell, cell_index: started.append(cell_index),
    )
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        number = started[-1] if started else 0
        source, detail = notebook.cells[number].source, ANSI.sub("", str(error))
        if source not in detail:
            detail = f"{source}\n\n{detail}"
        raise CellFailed(f"cell {number + 1} of {len(notebook.cells)} failed\n\n{detail}") from None


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Drop what depends on the machine or the moment, in place."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}}
        | {key: notebook.metadata[key] for key in KEPT_OF_A_NOTEBOOK if key in notebook.metadata}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    inside = False  # a solution
    for cell in notebook.cells:
        key = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[key] = seen.get(key, 0) + 1
        cell.id = key if seen[key] == 1 else f"{key}-{seen[key]}"
        cell.metadata = nbformat.from_dict({k: cell.metadata[k] for k in KEPT_OF_A_CELL if cell.metadata.get(k)})
        if cell.cell_type == "markdown":
            inside = "{solution-start}" in cell.source or inside and "{solution-end}" not in cell.source
        else:
            cell.outputs = list(_outputs(cell.outputs))
            if inside:  # Jupyter folds it; the page does so by itself
                cell.metadata["jupyter"] = {"source_hidden": True}


def _outputs(outputs):
    """The outputs worth keeping: no stderr, one stream for consecutive prints, tracebacks of the cell alone."""
    previous = None
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            continue
        if output.output_type == "stream" and previous is not None and previous.output_type == "stream":
            previous.text += output.text
            continue
        if output.output_type == "error":
            lines = [ANSI.sub("", line) for line in output.traceback]
            output.traceback = [line for line in lines if not line.startswith("File ")]
        elif output.output_type != "stream":
            output.metadata = nbformat.from_dict({})
            output.data.pop("application/vnd.jupyter.widget-view+json", None)
        previous = output
        yield output


def write(notebook: nbformat.NotebookNode, target: Path) -> None:
    """Write the notebook whole or not at all."""
    nbformat.validate(notebook)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(nbformat.writes(notebook).rstrip("\n") + "\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run notebooks in a clean kernel and store their outputs.")
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NB")
    parser.add_argument("--out", type=Path, help="where to write; needed for a .py script, for one notebook only")
    parser.add_argument("--timeout", type=int, default=900, help="seconds for one cell (default: 900)")
    options = parser.parse_args(arguments)
    if options.out and len(options.notebooks) > 1:
        parser.error("--out takes one notebook")
    for source in options.notebooks:
        target = options.out or source
        if source.suffix not in (".ipynb", ".py") or target.suffix != ".ipynb":
            parser.error(f"{source}: expected an .ipynb file, or a .py script with --out NAME.ipynb")
        try:
            notebook = read(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            execute(notebook, target.resolve().parent, timeout=options.timeout)
            normalise(notebook)
            write(notebook, target)
        except (CellFailed, OSError, nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
            print(f"{source}: {error}\n{target} was left as it was.", file=sys.stderr)
            return 1
        print(f"{target}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells executed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
