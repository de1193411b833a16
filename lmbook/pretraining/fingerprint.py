"""What a piece of code does, in a short string that comments and docstrings do not change."""

import ast
import hashlib
from pathlib import Path


def fingerprint(file: Path) -> str:
    """Hash of a file's syntax tree and of those of all files of its package that it uses.

    Comments, docstrings and formatting do not change it; a constant, a name or an
    operator does. A file counts if names are imported from it, straight or through the
    `__init__` of a folder, by the file or by one that counts.

    Args:
        file: stands in a folder of the package, however deep.

    Book: pretraining.
    """
    top = file.resolve()
    while (top.parent / "__init__.py").is_file():
        top = top.parent
    files, waiting = set(), [file.resolve()]
    while waiting:
        if (path := waiting.pop()) not in files:
            files.add(path)
            waiting += _used(path, top)
    names = {str(path.relative_to(top)): path for path in files}
    text = "\n".join(f"{name} {_tree(names[name])}" for name in sorted(names))
    return hashlib.sha256(text.encode()).hexdigest()


def _tree(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_text(line)]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    """A string that stands by itself, as docstrings do."""
    value = getattr(statement, "value", None) if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _used(path: Path, top: Path) -> list[Path]:
    """The files of the package that this one imports from."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path} must import by full names, got a relative import")
            found += [_defines(node.module, alias.name, top) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [_defines(alias.name, None, top) for alias in node.names]
    return [place for place in found if place]


def _defines(module: str, name: str | None, top: Path) -> Path | None:
    """The file of the package that a name comes from; None if it is not of the package."""
    first, *parts = module.split(".")
    if first != top.name:
        return None
    path = top.joinpath(*parts)
    if not path.is_dir():
        return path.with_suffix(".py")
    if name and (path / name).is_dir():
        return path / name / "__init__.py"
    if name and path.joinpath(f"{name}.py").is_file():
        return path / f"{name}.py"
    init = path / "__init__.py"
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if name and isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _defines(node.module, alias.name, top)
    return init
