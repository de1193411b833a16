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


def check_fraction(**rates: float) -> None:
    """Refuse rates outside [0, 1)."""
    for name, value in rates.items():
        if not 0.0 <= value < 1.0:
            raise ValueError(f"{name} must be in [0, 1), got {value}")


def check_choice(choices, **values: str) -> None:
    """Refuse a value that is not one of the choices."""
    for name, value in values.items():
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(sorted(choices))}, got {value!r}")


def check_ids(ids: Tensor, vocab_size: int, *, name: str = "ids") -> None:
    """Refuse token ids that are not a (batch, tokens) tensor of integers in [0, vocab_size)."""
    if ids.ndim != 2:
        raise ValueError(f"{name} must have 2 axes (batch, tokens), got shape {tuple(ids.shape)}")
    if ids.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{name} must be int32 or int64, got {ids.dtype}")
    if ids.numel() == 0:
        raise ValueError(f"{name} is empty, shape {tuple(ids.shape)}")
    # Reading values would break a compiled graph and is impossible on meta; on a GPU it would wait for the device.
    if ids.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= vocab_size:
            raise ValueError(f"{name} must be in [0, {vocab_size}), got values from {low} to {high}")


def check_width(x: Tensor, d_model: int, *, name: str = "x") -> None:
    """Refuse a tensor that is not (batch, tokens, d_model)."""
    if x.ndim != 3:
        raise ValueError(f"{name} must have 3 axes (batch, tokens, d_model), got shape {tuple(x.shape)}")
    if x.shape[-1] != d_model:
        raise ValueError(f"{name} must have width d_model={d_model}, got {x.shape[-1]}")
    if x.shape[1] == 0:
        raise ValueError(f"{name} is empty, shape {tuple(x.shape)}")
