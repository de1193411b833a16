"""The fingerprint of a file: kept by comments, docstrings and layout, changed by what the code does."""

import sys
import textwrap
from pathlib import Path

import pytest

from lmbook.pretraining import recipe
from lmbook.pretraining.fingerprint import fingerprint

FILES = {
    "__init__.py": '"""A package."""\n',
    "rates.py": "RATE = 0.1\n\n\ndef rate(step):\n    return RATE * step\n",
    "text/__init__.py": "from pkg.text.words import count as counted\nfrom pkg.text.other import unused\n",
    "text/words.py": "def count(text):\n    from pkg.text import lazily\n\n    return lazily.split(text)\n",
    "text/lazily.py": "def split(text):\n    return text.split()\n",
    "text/other.py": "def unused():\n    return 1\n",
    "models/__init__.py": "",
    "models/main.py": "import math\n\nfrom pkg.rates import rate\nfrom pkg.text import counted\n\nX = rate(math.pi)\n",
}


@pytest.fixture
def package(tmp_path):
    """Write the package, some of its files changed, and give the fingerprint of models/main.py."""

    def make(changes=()):
        for name, text in (FILES | dict(changes)).items():
            path = tmp_path / "pkg" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return fingerprint(tmp_path / "pkg" / "models" / "main.py")

    return make


@pytest.mark.parametrize(
    "changes",
    [
        {"rates.py": "# A comment.\n" + FILES["rates.py"]},
        {"rates.py": '"""What a module says of itself."""\n' + FILES["rates.py"]},
        {"rates.py": 'RATE = 0.1\ndef rate(step):\n    """Says."""\n    return (RATE\n     * step)  # why\n'},
        {"text/other.py": "def unused():\n    return 2\n"},
        {"text/__init__.py": "from pkg.text.words import count as counted\n"},
        {"models/new.py": "X = 1\n"},
    ],
    ids=["comment", "docstring of the module", "of a function, and layout", "a file not used", "an init", "a new file"],
)
def test_what_keeps_it(package, changes):
    assert package() == package(changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"rates.py": FILES["rates.py"].replace("0.1", "0.2")},
        {"rates.py": FILES["rates.py"].replace("*", "+")},
        {"text/words.py": FILES["text/words.py"] + "\nX = 1\n"},
        {"text/lazily.py": FILES["text/lazily.py"].replace("split()", "split(' ')")},
        {"models/main.py": FILES["models/main.py"].replace("counted", "counted as c")},
    ],
    ids=["a constant", "an operator", "behind an init", "imported inside a function", "the file itself"],
)
def test_what_changes_it(package, changes):
    before = package()
    assert before != package(changes) and before == package()


def test_a_name_of_the_init_itself_counts(package):
    init = {"text/__init__.py": FILES["text/__init__.py"] + "LIMIT = 1\n"}
    main = {"models/main.py": "from pkg.text import LIMIT\n"}
    assert package(init | main) != package({"text/__init__.py": init["text/__init__.py"].replace("1", "2")} | main)


def test_relative_imports_are_refused(package):
    with pytest.raises(ValueError, match="main.py must import by full names"):
        package({"models/main.py": "from ..rates import rate\n"})


def test_it_reads_the_files_that_training_runs(monkeypatch, tmp_path):
    """Those that Python loads for the recipe, less the ones that only the `__init__`s of the rooms ask for."""
    read = set()
    original = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, **options: (read.add(self.stem), original(self, **options))[1])
    fingerprint(Path(recipe.__file__))
    assert {"recipe", "loop", "schedule", "batches", "gpt", "multihead", "layers", "bpe_training", "corpora"} <= read
    assert {"bert", "ngram", "embeddings", "dedup", "spans"}.isdisjoint(read)
    loaded = {name.rsplit(".", 1)[1] for name in sys.modules if name.startswith("lmbook.")}
    assert read - loaded <= {"__init__", "wikitext"}  # the last is for another corpus
