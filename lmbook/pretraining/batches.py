"""Batches of text in an order that is random, and the same again after a crash."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor

from lmbook._checks import check_positive
from lmbook.pretraining.objectives import causal_lm


class Batches:
    """An endless iterator over (inputs, targets), whose whole state is a seed and a position.

    The text is cut into windows that do not overlap, from another start in every epoch; each epoch visits all windows
    in an order of its own, less those that fill no batch. No token is out of reach: an epoch may begin with the first
    and may end with the last. An objective that needs random numbers gets a generator that
    depends on the seed and the position, so that any batch can be made again without those before it.

    Args:
        tokens: the ids of the whole text; a memory-mapped array goes through ``torch.from_numpy``.
        batch_size: windows in a batch, over all processes together.
        length: tokens of a window. Under `causal_lm` the model sees length - 1 of them.
        objective: called as ``objective(windows, generator=...)``, gives (inputs, targets).
        rank, world_size: this process gets rows rank, rank + world_size, ... of each batch.

    Book: pretraining.
    """

    def __init__(
        self,
        tokens: Tensor,
        *,
        batch_size: int,
        length: int,
        seed: int = 0,
        objective: Callable = causal_lm,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_positive(batch_size=batch_size, length=length, world_size=world_size)
        if not isinstance(tokens, Tensor) or tokens.ndim != 1 or tokens.is_floating_point():
            raise TypeError(f"tokens must be a tensor of integers with one axis, got {_describe(tokens)}")
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be an int of at least 0, got {seed!r}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, {world_size}), got {rank}")
        if batch_size % world_size:
            raise ValueError(f"batch_size must be divisible by world_size={world_size}, got {batch_size}")
        n_windows = (len(tokens) - length + 1) // length  # leaves a choice of at least `length` starts
        if n_windows < batch_size:
            raise ValueError(
                f"tokens must fill at least one batch of {batch_size} x {length}, whichever token is the first: "
                f"{(batch_size + 1) * length - 1} tokens, got {len(tokens)}"
            )
        self.tokens, self.length, self.objective = tokens, length, objective
        self.batch_size, self.n_windows = batch_size, n_windows
        self.seed, self.position, self.rank, self.world_size = seed, 0, rank, world_size
        self._order: tuple[int, Tensor] | None = None

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return self.n_windows // self.batch_size

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> tuple:
        epoch, number = divmod(self.position, self.per_epoch)
        if self._order is None or self._order[0] != epoch:
            generator = self._generator(0, epoch)
            left_over = len(self.tokens) - self.length * self.n_windows
            start = int(torch.randint(left_over + 1, (), generator=generator))
            self._order = epoch, start + self.length * torch.randperm(self.n_windows, generator=generator)
        starts = self._order[1][number * self.batch_size : (number + 1) * self.batch_size].tolist()
        windows = torch.stack([self.tokens[start : start + self.length] for start in starts]).long()
        batch = self.objective(windows, generator=self._generator(1, self.position))
        self.position += 1
        if self.world_size == 1:
            return batch
        return map_tensors(lambda tensor: tensor[self.rank :: self.world_size], batch)

    def state(self) -> dict[str, int]:
        """What `load_state` needs to go on from here, in any number of processes."""
        sizes = {"n_tokens": len(self.tokens), "batch_size": self.batch_size, "length": self.length}
        return {"seed": self.seed, "position": self.position} | sizes

    def load_state(self, state: dict[str, int]) -> None:
        """Go on where another object over the same text stood when it gave this state; the seed becomes that one's."""
        if not isinstance(state, dict):
            raise TypeError(f"state must be a dict, got {type(state).__name__}")
        wanted = self.state() | {name: state.get(name) for name in ("seed", "position")}
        if state != wanted or not all(type(value) is int and value >= 0 for value in state.values()):
            raise ValueError(f"state must be {wanted} with a seed and a position of at least 0, got {state}")
        self.seed, self.position, self._order = state["seed"], state["position"], None

    def _generator(self, purpose: int, number: int) -> Generator:
        mixed = np.random.SeedSequence([self.seed, purpose, number]).generate_state(1, np.uint64)
        return Generator().manual_seed(int(mixed[0]))


def map_tensors(call: Callable[[Tensor], Tensor], batch):
    """Apply a function to every tensor in a tensor, tuple, list or dict of them."""
    if isinstance(batch, dict):
        return {name: map_tensors(call, value) for name, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return tuple(map_tensors(call, value) for value in batch)
    return call(batch)


def _describe(value) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
