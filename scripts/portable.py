"""Run chapters as several processors would, say what differs, and measure how far each assert is from failing.

    python scripts/portable.py                                     # the whole book
    python scripts/portable.py book/transformer/attention.ipynb    # one chapter
    python scripts/portable.py --processors avx2 NB                # one processor
    python scripts/portable.py --reuse NB                          # go on after runs that were broken off

Each run is nbval's, strict, in an environment of its own; models that chapters keep are trained anew for each. Five
runs or more write tests/book/margins/CHAPTER.json: for each comparison in an assert the mean and the spread of its
slack, and for each cell with a tolerance the greatest difference seen. tests/book/test_margins.py reads them.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from comparing import cell_id, tolerance
from measuring import Asserts

ROOT = Path(__file__).resolve().parents[1]
MARGINS = ROOT / "tests" / "book" / "margins"
FEWEST = 5  # runs that an assert is judged by
ONE = {"OMP_NUM_THREADS": "1"}
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
SSE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
PROCESSORS = {
    "native": ONE,
    "avx2": ONE | AVX2,
    "sse": ONE | SSE,
    "two-threads": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
    "rounding-1": ONE | {"LMBOOK_ROUNDING": "1"},
    "rounding-2": ONE | {"LMBOOK_ROUNDING": "2"},
    "rounding-3": ONE | {"LMBOOK_ROUNDING": "3"},
}


def kept(notebook: Path, processor: str, cache: Path, *, reuse: bool) -> dict:
    """The run of a notebook, which is kept; one that was made before of the same cells is used again if asked."""
    code = [c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"]
    digest = hashlib.sha256(json.dumps([[c.source, c.outputs] for c in code]).encode()).hexdigest()
    path = cache / "runs" / f"{notebook.stem}-{digest[:12]}.json"
    if reuse and path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    found = run(notebook, processor, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    return found


def run(notebook: Path, processor: str, cache: Path) -> dict:
    """Run one notebook as one processor would: {"failed": {cell: message}, "slack": {...}, "greatest": {...}}."""
    with tempfile.TemporaryDirectory() as folder:
        startup = Path(folder, "ipython", "profile_default", "startup")
        startup.mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "measuring.py", startup / "00-measuring.py")
        report, slack = Path(folder, "report.xml"), Path(folder, "slack.jsonl")
        slack.touch()
        environment = os.environ | PROCESSORS[processor]
        environment |= {"IPYTHONDIR": str(startup.parents[1]), "LMBOOK_SLACK": str(slack), "LMBOOK_CACHE": str(cache)}
        command = [sys.executable, "-m", "pytest", str(notebook), "--nbval", "--nbval-current-env", "-q", "--tb=short"]
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={report}"],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        if not report.exists():
            raise SystemExit(f"{notebook}: nbval did not run\n{done.stdout}{done.stderr}")
        return read(report) | {"slack": [json.loads(line) for line in slack.read_text().splitlines()]}


def read(report: Path) -> dict:
    failed, greatest = {}, {}
    for case in xml.parse(report).getroot().iter("testcase"):
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        number = case.get("name")
        for problem in [*case.iter("failure"), *case.iter("error")]:
            failed[number] = re.sub(r"\x1b\[[0-9;]*m|#x1B\[[0-9;]*m", "", problem.text or problem.get("message", ""))
        if "greatest difference" in properties:
            greatest[properties["cell"]] = float(properties["greatest difference"])
    return {"failed": failed, "greatest": greatest}


def margins(notebook: Path, runs: dict[str, dict]) -> dict:
    """What a full run has measured of a chapter, as it is kept beside the tests."""
    slacks: dict[str, dict[str, list[float]]] = {}
    for found in runs.values():
        for cell, text, slack in found["slack"]:
            slacks.setdefault(cell, {}).setdefault(text, []).append(slack)
    sources = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    cells = {cell_id(source): source for source in sources}
    asserts = {
        cell: {text: summary(values) for text, values in found.items()}
        for cell, found in slacks.items()
        if cell in cells
    }
    within = {
        cell: {
            "declared": tolerance(source)[0],
            "greatest": short(max(found["greatest"].get(cell, math.inf) for found in runs.values())),
        }
        for cell, source in cells.items()
        if tolerance(source)
    }
    ordered = {cell for cell, source in cells.items() if Asserts.compares(source)}
    return {"runs": list(runs), "asserts": asserts, "within": within, "no numbers": sorted(ordered - set(asserts))}


def summary(values: list[float]) -> dict:
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return {"mean": short(statistics.fmean(values)), "spread": short(spread), "runs": len(values)}


def short(number: float) -> float | str:
    return float(f"{number:.4g}") if math.isfinite(number) else str(number)


def weak(found: dict) -> list[str]:
    """What a chapter's margins do not bear: asserts nearer to failing than four spreads, tolerances below twice."""
    complaints = []
    for cell, asserts in found["asserts"].items():
        for text, slack in asserts.items():
            mean, spread = float(slack["mean"]), float(slack["spread"])
            if not (mean >= 4 * spread and slack["runs"] >= FEWEST):
                complaints.append(f"cell {cell}: {text}: slack {mean:g}, spread {spread:g} over {slack['runs']} runs")
    for cell, seen in found["within"].items():
        if not float(seen["greatest"]) * 2 <= seen["declared"]:
            complaints.append(f"cell {cell}: within {seen['declared']:g} declared, {seen['greatest']} seen")
    return complaints


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run chapters as several processors would.")
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NB")
    parser.add_argument("--processors", nargs="+", choices=PROCESSORS, default=list(PROCESSORS))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "portable", help="where models are kept")
    parser.add_argument("--reuse", action="store_true", help="use runs of the same cells that were made before")
    options = parser.parse_args(arguments)
    notebooks = options.notebooks or sorted((ROOT / "book").rglob("*.ipynb"))
    if missing := [str(path) for path in notebooks if not path.is_file()]:
        parser.error(f"no such notebook: {', '.join(missing)}")
    tasks = [(notebook.resolve(), processor) for processor in options.processors for notebook in notebooks]
    results: dict[Path, dict[str, dict]] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        cache = options.cache.resolve()
        found = pool.map(lambda task: kept(*task, cache / task[1], reuse=options.reuse), tasks)
        for (notebook, processor), result in zip(tasks, found, strict=True):
            results.setdefault(notebook, {})[processor] = result
            print(f"{notebook.stem:22} {processor:12} {len(result['failed']) or 'no'} differing cells", flush=True)
    bad = 0
    for notebook, runs in results.items():
        for cell in sorted({cell for found in runs.values() for cell in found["failed"]}):
            under = [name for name, found in runs.items() if cell in found["failed"]]
            bad += 1
            print(f"\n{notebook.stem}, {cell}: differs on {', '.join(under)}\n{runs[under[0]]['failed'][cell][-1500:]}")
        if len(runs) >= FEWEST:
            measured = margins(notebook, runs)
            for complaint in weak(measured):
                bad += 1
                print(f"{notebook.stem}: {complaint}")
            MARGINS.mkdir(exist_ok=True)
            (MARGINS / f"{notebook.stem}.json").write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
    print(f"\n{len(results)} chapters, {len(options.processors)} processors: {bad or 'no'} complaints")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
