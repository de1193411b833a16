"""Checks of arguments shared by the package: each raises an error that names the argument, its value and the limit."""

import torch
from torch import Tensor


def check_positive(**sizes: int) -> None:
    """Refuse sizes that are not integers of at least 1."""
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, got {value!r} ({type(value).__name__})")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def check_divides(**sizes: int) -> None:
    """Refuse two sizes, whole then part, where the part does not divide the whole."""
    (whole_name, whole), (part_name, part) = sizes.items()
    if whole % part:
        raise ValueError(f"{whole_name} must be divisible by {part_name}, got {whole_name}={whole}, {part_name}={part}")


def check_even(**sizes: int) -> None:
    """Refuse sizes that are not made of pairs."""
    check_positive(**sizes)
    for name, value in sizes.items():
        if value % 2:
            raise ValueError(f"{name} must be even, got {value}")


def check_fraction(**rates: float) -> None:
    """Refuse rates outside [0, 1)."""
    for name, value in rates.items():
        if not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
        if not 0.0 <= value < 1.0:
            raise ValueError(f"{name} must be in [0, 1), got {value}")


def check_above_zero(**numbers: float) -> None:
    """Refuse numbers that are not above 0."""
    for name, value in numbers.items():
        if not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
        if not value > 0:
            raise ValueError(f"{name} must be above 0, got {value}")


def check_choice(choices, **values: str) -> None:
    """Refuse a value that is not one of the choices."""
    for name, value in values.items():
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(sorted(choices))}, got {value!r}")


def check_float(**tensors: Tensor) -> None:
    """Refuse what is not a tensor of floating-point numbers."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {tensor.dtype}")


def check_integers(ids: Tensor, *, name: str = "ids") -> None:
    """Refuse what is not a tensor of int32 or int64."""
    if not isinstance(ids, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(ids).__name__}")
    if ids.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{name} must be int32 or int64, got {ids.dtype}")


def check_ids(ids: Tensor, vocab_size: int, *, name: str = "ids") -> None:
    """Refuse token ids that are not a (batch, tokens) tensor of integers in [0, vocab_size)."""
    check_integers(ids, name=name)
    if ids.ndim != 2:
        raise ValueError(f"{name} must have 2 axes (batch, tokens), got shape {tuple(ids.shape)}")
    if ids.numel() == 0:
        raise ValueError(f"{name} is empty, shape {tuple(ids.shape)}")
    check_range(ids, vocab_size, name=name)


def check_range(ids: Tensor, limit: int, *, name: str = "ids") -> None:
    """Refuse integers outside [0, limit)."""
    # Reading values would break a compiled graph and is impossible on meta; on a GPU it would wait for the device.
    if ids.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= limit:
            raise ValueError(f"{name} must be in [0, {limit}), got values from {low} to {high}")


def check_mask(mask: Tensor, shape: tuple[int, int], *, name: str = "mask") -> None:
    """Refuse a mask of tokens that is not boolean and (batch, tokens)."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(f"{name} must be boolean (True = a real token), got {getattr(mask, 'dtype', mask)}")
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"{name} must have shape (batch, all tokens) = {tuple(shape)}, got {tuple(mask.shape)}")


def check_width(x: Tensor, d_model: int, *, name: str = "x") -> None:
    """Refuse a tensor that is not (batch, tokens, d_model)."""
    check_float(**{name: x})
    if x.ndim != 3:
        raise ValueError(f"{name} must have 3 axes (batch, tokens, d_model), got shape {tuple(x.shape)}")
    if x.shape[-1] != d_model:
        raise ValueError(f"{name} must have width d_model={d_model}, got {x.shape[-1]}")
    if x.shape[1] == 0:
        raise ValueError(f"{name} is empty, shape {tuple(x.shape)}")
