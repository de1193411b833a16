"""The files of a pretrained model: safetensors in one file or several, and JSON. Nothing is unpickled."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

_WANTED = ["config.json", "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json",
           "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt"]  # fmt: skip
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_SHORT = {
    **{name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")},
    **{f"bert-{name}": f"google-bert/bert-{name}" for name in ("base-uncased", "base-cased", "large-uncased")},
}  # names from before the hub had owners


def weight_files(folder: Path) -> list[Path]:
    """model.safetensors, or the shards that model.safetensors.index.json lists."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        if pickles := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)):
            raise ValueError(
                f"{folder} has its weights in {pickles[0]} only, a pickle, which can run any code when it is opened "
                "and is therefore refused: get the model.safetensors of the same model"
            )
        raise ValueError(f"{folder} has neither model.safetensors nor model.safetensors.index.json")
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} has no 'weight_map'")
    shards = sorted(set(map(str, weight_map.values())))
    for shard in shards:
        if Path(shard).name != shard:
            raise ValueError(f"{index} lists {shard!r}, which must be the plain name of a file in the same folder")
        if not (folder / shard).is_file():
            raise ValueError(f"{index} lists {shard}, which is missing")
    return [folder / shard for shard in shards]


def tensor_names(files: list[Path]) -> list[str]:
    """The names of all tensors in safetensors files."""
    return [name for file in files for name, _ in _walk(file, with_data=False)]


def read_tensors(files: list[Path]) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of all tensors in safetensors files, one at a time."""
    for file in files:
        yield from _walk(file, with_data=True)


def without(tensors: Iterator[tuple[str, Tensor]], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """The same tensors; the prefix stands in files of models with a head, and not in those without."""
    return ((name.removeprefix(prefix), tensor) for name, tensor in tensors)


def _walk(file: Path, *, with_data: bool) -> Iterator[tuple[str, Tensor | None]]:
    try:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a dict: it cannot be iterated over)
                yield name, tensors.get_tensor(name) if with_data else None
    except SafetensorError as error:
        raise ValueError(f"{file} is no whole safetensors file: {error}") from None


def download(repo_id: str, *, revision: str | None = None) -> Path:
    """The folder of a model from the Hugging Face hub, fetched once and then kept in the hub's cache.

    Only config.json, safetensors and the files of the tokenizer are fetched: no pickle, no code.

    Args:
        repo_id: "owner/name", or one of the old names without owner, such as "gpt2".
        revision: branch, tag or commit.

    Raises:
        ValueError: no such repository, or one that needs a login.
        ConnectionError: no network, and not in the cache.
    """
    repo_id = _SHORT.get(repo_id, repo_id)
    if not re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", repo_id):
        raise ValueError(f"repo_id must be 'owner/name' or one of {', '.join(_SHORT)}, got {repo_id!r}")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise ImportError(f"downloading {repo_id} needs huggingface_hub: pip install huggingface_hub") from None
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=_WANTED))
    except LocalEntryNotFoundError:
        raise ConnectionError(
            f"{repo_id} is not in the cache of the Hugging Face hub, and the hub cannot be reached: without a network, "
            "use load_smollm2() or load_minilm(), whose weights are installed packages"
        ) from None
    except HfHubHTTPError as error:
        raise ValueError(f"the Hugging Face hub does not give out {repo_id}: {error}") from None


def read_json(path: Path) -> dict:
    """The object in a JSON file; a ValueError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # json.JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"{path} is not a whole JSON file: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(content).__name__}")
    return content
