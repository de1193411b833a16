"""Checkpoints: all that a training run needs to go on to the bit, in a folder that is written whole or not at all.

    model.safetensors      the weights                       config.json      sizes of the model, for the reader
    training.safetensors   the optimizer and random states   training.json    step, position in the data, best loss

Nothing is pickled. Shards are gathered, so that the files do not depend on the number of processes.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn as nn
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmbook.pretraining.distributed import bare, rank_and_size, spread, wait, whole

_VERSION = 1


def save_checkpoint(
    folder: str | os.PathLike,
    model: nn.Module,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    step: int = 0,
    data: Mapping | None = None,
    best: float | None = None,
) -> None:
    """Write a checkpoint in place of the one that stood in the folder; a crash leaves the old or the new one.

    All processes call it, and the first one writes.

    Args:
        step: number of training steps done.
        data: ``Batches.state()``.
        best: least validation loss so far.

    Raises:
        ValueError: a weight is not finite; what stood in the folder stays.

    Book: pretraining.
    """
    weights = {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in _tensors(model).items()}
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"model must be finite to be saved, but {name} is not, at step {step}")
    training = _random_states()
    for name, parameter in bare(model).named_parameters() if optimizer else ():
        for key, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor):
                raise TypeError(f"optimizer must keep tensors only, got {type(value).__name__} for {key!r} of {name}")
            training[f"optimizer.{name}.{key}"] = whole(value).cpu().contiguous()
    kind = type(optimizer).__name__ if optimizer else None
    facts = {"version": _VERSION, "step": step, "data": data and dict(data), "best": best, "optimizer": kind}
    config = getattr(bare(model), "config", None)
    config = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else {}

    def write(part: Path) -> None:
        save_file(weights, part / "model.safetensors", metadata={"format": "pt", "step": str(step)})
        save_file(training, part / "training.safetensors", metadata={"format": "pt", "step": str(step)})
        (part / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        (part / "training.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")

    if rank_and_size()[0] == 0:
        replace_folder(Path(folder), write)
    wait()


def load_checkpoint(
    folder: str | os.PathLike,
    model: nn.Module,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    random_state: bool = False,
) -> dict:
    """Put the weights of a checkpoint into a model; return its step, data and best loss as `save_checkpoint` got them.

    The model may be sharded otherwise than the one that was saved. Nothing changes unless all files are right.

    Args:
        optimizer: one over the parameters of this model; gets its moments back, and keeps its own hyperparameters.
        random_state: also set torch's global random state. A process that had none in the saved run keeps its own.

    Raises:
        ValueError: a file is missing, truncated or another file, or does not fit the model; the message names it.
    """
    folder = standing(folder)
    facts = _read_json(folder / "training.json")
    if facts.get("version") != _VERSION or not isinstance(facts.get("step"), int):
        raise ValueError(f"{folder / 'training.json'} is not that of a checkpoint of version {_VERSION}")
    if optimizer is not None and facts.get("optimizer") != type(optimizer).__name__:
        raise ValueError(f"{folder} holds the state of {facts.get('optimizer')}, not of {type(optimizer).__name__}")
    own, weights = _tensors(model), _read_tensors(folder / "model.safetensors")
    training = _read_tensors(folder / "training.safetensors")
    _check_fit(folder / "model.safetensors", own, weights)
    if optimizer is not None:
        state = optimizer.state_dict() | {
            "state": _moments(folder / "training.safetensors", model, optimizer, training)
        }
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(spread(weights[name], tensor))
    if optimizer is not None:
        optimizer.load_state_dict(state)
    if random_state:
        _set_random_states(training)
    return {name: facts.get(name) for name in ("step", "data", "best")}


def standing(folder: str | os.PathLike) -> Path:
    """The folder in which a checkpoint stands: the one that is named, or the one before where a crash came between.

    Raises:
        ValueError: there is none.
    """
    for path in (Path(folder), _beside(Path(folder), "previous")):
        if path.is_dir():
            return path
    raise ValueError(f"folder must hold a checkpoint, got {str(folder)!r}, which does not exist")


def replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Fill a new folder beside the old one, wait until the disk has it, and only then give it the old one's name."""
    part, previous = _beside(path, "part"), _beside(path, "previous")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write(part)
    for file in [*part.iterdir(), part]:
        _flush(file)
    if path.exists():  # where a crash came between the two renames it does not, and the previous one stands
        shutil.rmtree(previous, ignore_errors=True)
        os.rename(path, previous)
    os.rename(part, path)
    _flush(path.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and lasting buffers by name, each once, however many names it has."""
    seen: set[int] = set()
    state = bare(model).state_dict(keep_vars=True)
    return {name: t for name, t in state.items() if isinstance(t, Tensor) and not (id(t) in seen or seen.add(id(t)))}


def _moments(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, training: dict[str, Tensor]) -> dict:
    """The optimizer's state as `Optimizer.load_state_dict` wants it: by the number of the parameter."""
    saved: dict[str, dict[str, Tensor]] = {}
    for full_name, value in training.items():
        kind, _, rest = full_name.partition(".")
        if kind == "optimizer":
            name, _, key = rest.rpartition(".")
            saved.setdefault(name, {})[key] = value
    names = {parameter: name for name, parameter in bare(model).named_parameters()}
    state = {}
    for number, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        name = names[parameter]
        if saved and name not in saved:
            raise ValueError(f"{path} has no optimizer state for {name}")
        for key, value in saved.get(name, {}).items():
            if value.ndim and value.shape != parameter.shape:
                raise ValueError(f"{path}: {key} of {name} is {tuple(value.shape)}, not {tuple(parameter.shape)}")
            state.setdefault(number, {})[key] = spread(value, parameter) if value.ndim else value
    return state


def _check_fit(path: Path, own: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    if own.keys() != weights.keys():
        missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
        raise ValueError(f"{path} does not fit the model: missing {missing[:3]}, unknown {unknown[:3]}")
    for name, tensor in own.items():
        if (tensor.shape, tensor.dtype) != (weights[name].shape, weights[name].dtype):
            got, wanted = (f"{tuple(t.shape)} {t.dtype}" for t in (weights[name], tensor))
            raise ValueError(f"{path} does not fit the model: {name} is {got}, not {wanted}")


def _random_states() -> dict[str, Tensor]:
    """The state of torch's global generators, in every process."""
    kinds = {"cpu": torch.get_rng_state()} | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})
    size, states = rank_and_size()[1], {}
    for kind, state in kinds.items():
        every = [state] * size
        if size > 1:
            dist.all_gather_object(every, state)
        states |= {f"random.{kind}.{rank}": state for rank, state in enumerate(every)}
    return states


def _set_random_states(training: dict[str, Tensor]) -> None:
    rank = rank_and_size()[0]
    if (state := training.get(f"random.cpu.{rank}")) is not None:
        torch.set_rng_state(state)
    if torch.cuda.is_available() and (state := training.get(f"random.cuda.{rank}")) is not None:
        torch.cuda.set_rng_state(state)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is missing, truncated or not a safetensors file ({error})") from None


def _read_json(path: Path) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is missing, truncated or not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(values).__name__}")
    return values
