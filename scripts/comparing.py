"""How the output of a cell is compared with what is stored: exactly, within a declared tolerance, or not at all.

A cell declares it in a comment that its reader sees: `# compared within 0.05`, `# compared within 3 %`, or
`# not compared: why` (then with the tag nbval-ignore-output and an assert). Without one, the text must be the same.
"""

import ast
import hashlib
import re
from collections import Counter
from itertools import zip_longest
from math import inf

DECLARED = re.compile(r"^# compared within (\d+(?:\.\d+)?(?:e-?\d+)?)( %)?$", re.M)
NOT_COMPARED = re.compile(r"^# not compared: \S.{9,}", re.M)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?")
IGNORED = "nbval-ignore-output"


def tolerance(source: str) -> tuple[float, bool] | None:
    """The tolerance that a cell declares, and whether it is relative; None where the text must be the same."""
    found = DECLARED.search(source)
    return found and (float(found[1]) / (100 if found[2] else 1), bool(found[2]))


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


def difference(got: str, want: str, *, relative: bool) -> float:
    """The greatest difference between numbers of two texts; infinite where the texts around them differ."""
    between = [NUMBER.sub("#", text).replace(" ", "") for text in (got, want)]
    if between[0] != between[1]:
        return inf
    pairs = zip(numbers(got), numbers(want), strict=True)
    return max((abs(a - b) / (abs(b) or 1.0 if relative else 1.0) for a, b in pairs), default=0.0)


def texts(outputs) -> list[tuple[dict, str]]:
    """Each place of an output that holds text, as (dictionary, key); what was written to stderr is left out."""
    found = []
    for output in outputs:
        if output.get("output_type") == "stream":
            found += [(output, "text")] if output.get("name") != "stderr" else []
        else:
            found += [(output["data"], kind) for kind in sorted(output.get("data", {})) if kind.startswith("text/")]
    return found


def adopt(got, want, source: str) -> float | None:
    """Give outputs that are within the cell's tolerance the stored text, in place; return the greatest difference."""
    if (declared := tolerance(source)) is None:
        return None
    bound, relative = declared
    greatest = 0.0
    for mine, stored in zip_longest(texts(got), texts(want)):
        if mine is None or stored is None or mine[1] != stored[1]:
            return inf
        (holder, key), (reference, _) = mine, stored
        apart = difference(holder[key], reference[key], relative=relative)
        greatest = max(greatest, apart)
        if apart <= bound:
            holder[key] = reference[key]
    return greatest


def kind(cell) -> str | None:
    """One of exact, within a tolerance, not compared; None for a cell that prints nothing."""
    if not cell.outputs:
        return None
    if IGNORED in cell.metadata.get("tags", []):
        return "not compared"
    return "within a tolerance" if tolerance(cell.source) else "exact"


def count(notebooks) -> Counter:
    """How many cells with output are compared in which way."""
    cells = (cell for notebook in notebooks for cell in notebook.cells if cell.cell_type == "code")
    return Counter(filter(None, map(kind, cells)))


def cell_id(source: str) -> str:
    """What scripts/execute.py calls a code cell: a hash of its source, which measurements are kept by."""
    return hashlib.sha256(f"code\n{source}".encode()).hexdigest()[:12]


def tree(source: str) -> ast.Module:
    """The syntax of a cell, without its magics."""
    return ast.parse(re.sub(r"^(\s*)[!%].*$", r"\1pass", source, flags=re.M))


def has_assert(source: str) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(tree(source)))
