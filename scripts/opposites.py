"""Plant the opposite of each claim of a chapter, and see that the chapter's own assert fails.

    python scripts/opposites.py book/transformer/attention.ipynb

A code cell may say in its metadata what would make its claim false:

    "lmbook": {"opposites": [{"claim": "no token looks ahead", "old": "causal=True", "new": "causal=False"}]}

The chapter is run, and before such a cell the process is forked: the copy runs the cell with `new` in place of `old`,
and as many further code cells as `cells` says, until an assert fails. That none does, or that something else is raised,
is a complaint.
"""

import os
import sys
from pathlib import Path

import nbformat

FAILED, PASSED, OTHER = 0, 1, 2  # how a copy ended


def planted(cell) -> list[dict]:
    return cell.metadata.get("lmbook", {}).get("opposites", [])


def complaints(path: Path):
    """Run a notebook, as far as its last opposite needs, and yield what is wrong with each."""
    import torch
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    torch.set_num_threads(1)
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    last = max((number for number, cell in enumerate(cells) if planted(cell)), default=-1)
    os.chdir(path.parent)
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    for number, cell in enumerate(cells[: last + 1]):
        for opposite in planted(cell):
            changed = cell.source.replace(opposite["old"], opposite["new"])
            further = [c.source for c in cells[number + 1 : number + 1 + opposite.get("cells", 0)]]
            if message := in_a_copy(shell, [changed, *further]):
                yield f"{opposite['claim']}: {message}"
        result = quietly(shell, cell.source)
        if not result.success and "raises-exception" not in cell.metadata.get("tags", []):
            raise SystemExit(f"{path}: cell {number} failed: {result.error_in_exec or result.error_before_exec!r}")


def in_a_copy(shell, sources: list[str]) -> str:
    """What is wrong with how the cells end in a copy of this process; empty where an assert fails."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        ended, text = PASSED, "no assert failed"
        for source in sources:
            result = quietly(shell, source)
            error = result.error_in_exec or result.error_before_exec
            if error is not None:
                is_assert = isinstance(error, AssertionError)
                ended, text = (FAILED, "") if is_assert else (OTHER, f"{type(error).__name__}: {error}")
                break
        os.write(writer, text.encode()[:4000])
        os._exit(ended)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "" if status == FAILED else text or f"the copy ended with {status}"


def quietly(shell, source: str):
    """Run a cell with its output thrown away."""
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nowhere:
        sys.stdout.flush()
        os.dup2(nowhere.fileno(), 1), os.dup2(nowhere.fileno(), 2)
        try:
            return shell.run_cell(source)
        finally:
            sys.stdout.flush()
            os.dup2(kept[0], 1), os.dup2(kept[1], 2)
            os.close(kept[0]), os.close(kept[1])


def main(paths: list[str]) -> int:
    os.environ.setdefault("MPLBACKEND", "agg")
    bad = 0
    for path in paths:
        for message in complaints(Path(path).resolve()):
            print(f"{path}: {message}", flush=True)
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
