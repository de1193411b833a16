"""Rotary positions for a context longer than the one that a model was trained on."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lmbook._checks import check_above_zero, check_positive


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Stretches rotary positions to a longer context, as Llama 3.1 does.

    A pair of coordinates that turns more than fast times within the original context keeps
    its pace, one that turns fewer than slow times turns factor times slower, and the pace
    of those between is mixed of both.

    Args:
        factor: how much longer the context becomes.
        original_max_len: the context before, in tokens.
        slow, fast: turns within it; low_freq_factor and high_freq_factor in Llama's files.

    Source: ``apply_scaling`` of the code published with Llama 3.1 (Grattafiori et al. 2024).
    """

    factor: float
    original_max_len: int = 8192
    slow: float = 1.0
    fast: float = 4.0

    def __post_init__(self) -> None:
        check_above_zero(factor=self.factor, slow=self.slow, fast=self.fast)
        check_positive(original_max_len=self.original_max_len)
        if self.fast <= self.slow:
            raise ValueError(f"fast must be above slow={self.slow}, got {self.fast}")

    def __call__(self, frequencies: Float[Tensor, "*pairs"]) -> Float[Tensor, "*pairs"]:
        """The new angle per token of each pair."""
        turns = self.original_max_len * frequencies / (2 * math.pi)
        kept = ((turns - self.slow) / (self.fast - self.slow)).clamp(0, 1)
        return frequencies * (kept + (1 - kept) / self.factor)
