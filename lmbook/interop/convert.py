"""From somebody else's names of tensors to ours: every tensor must find its place, and every place its tensor."""

import re
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

_SHOWN = 3  # an error names so many tensors; one mistake often touches hundreds


def fill(
    model: nn.Module,
    tensors: Iterable[tuple[str, Tensor]],
    modules: Mapping[str, str | tuple[str, ...]],
    *,
    source: str,
    dtype: torch.dtype | None = torch.float32,
    ignored: Collection[str] = (),
) -> None:
    """Give a model on the meta device the weights of a file.

    Args:
        tensors: (name, tensor) as the file has them, one at a time; each is copied, so a mapped file can be closed.
        modules: their module -> ours, "#" standing for the number of a layer. A tuple names several of our modules
            whose weights theirs holds one below the other.
        source: where the tensors come from, for the errors.
        dtype: of the parameters; None keeps that of each tensor.
        ignored: regular expressions of names that hold no weights, such as masks stored with the model.

    Raises:
        ValueError: a tensor that has no place, has the wrong shape, is not of floats, or differs from another one
            for the same parameter; or a parameter for which there is no tensor.
    """
    places = {name: parameter.shape for name, parameter in model.state_dict().items()}
    shared = _shared_names(model)
    filled: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    homeless = []
    for name, tensor in tensors:
        if any(re.fullmatch(pattern, name) for pattern in ignored):
            continue
        ours = _our_names(name, modules)
        if not ours or not all(place in places for place in ours):
            homeless.append(name)
            continue
        if not tensor.is_floating_point():
            raise ValueError(f"{source}: {name} must hold floats, got {tensor.dtype} (quantised weights?)")
        shape = (sum(places[place][0] for place in ours), *places[ours[0]][1:])
        if tensor.shape != shape:
            raise ValueError(f"{source}: {name} must have shape {shape} as configured, got {tuple(tensor.shape)}")
        for place, piece in zip(ours, tensor.split([places[place][0] for place in ours]), strict=True):
            first = shared.get(place, place)
            weights = torch.empty(piece.shape, dtype=dtype or piece.dtype).copy_(piece)
            if first in filled and not torch.equal(filled[first], weights):
                raise ValueError(f"{source}: {name} and {origins[first]} must be equal, since the model shares them")
            filled.setdefault(first, nn.Parameter(weights))
            origins.setdefault(first, name)
    if homeless:
        raise ValueError(f"{source} holds {_list(homeless)}, for which a {type(model).__name__} has no place")
    if missing := [name for name in places if shared.get(name, name) not in filled]:
        raise ValueError(f"{source} holds nothing for {_list(missing)} of the {type(model).__name__}")
    # One Parameter for both names of a shared weight: assigned to both, it stays shared.
    model.load_state_dict({name: filled[shared.get(name, name)] for name in places}, assign=True)


def _our_names(name: str, modules: Mapping[str, str | tuple[str, ...]]) -> list[str]:
    """Our names for their tensor: "h.3.ln_1.bias" with "h.#.ln_1" -> "blocks.#.norm" gives ["blocks.3.norm.bias"]."""
    module, _, kind = name.rpartition(".")
    kind = {"gamma": "weight", "beta": "bias"}.get(kind, kind)  # as TensorFlow, and the first BERT files, call them
    number = re.search(r"(?<=\.)\d+(?=\.)", module)
    pattern = module if number is None else f"{module[: number.start()]}#{module[number.end() :]}"
    targets = modules.get(pattern, ())
    targets = (targets,) if isinstance(targets, str) else targets
    return [f"{target.replace('#', number[0] if number else '#')}.{kind}" for target in targets]


def _shared_names(model: nn.Module) -> dict[str, str]:
    """Each further name of a parameter that has several -> its first name."""
    first: dict[int, str] = {}
    names = model.named_parameters(remove_duplicate=False)
    return {name: kept for name, parameter in names if (kept := first.setdefault(id(parameter), name)) != name}


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more
