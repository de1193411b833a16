"""Five ways to tell a Transformer where a token stands."""

import math

import torch
import torch.nn as nn
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmbook._checks import check_above_zero, check_even, check_float, check_integers, check_positive, check_range
from lmbook.transformer.masks import first_real
from lmbook.transformer.rope_scaling import RopeScaling


def sinusoidal_encoding(
    positions: Float[Tensor, "*T"] | Int[Tensor, "*T"], d_model: int, *, base: float = 10000.0
) -> Float[Tensor, "*T D"]:
    """Sines in the even columns and cosines in the odd ones, of wavelengths from 2π to base · 2π tokens.

    Source: Vaswani et al. 2017, sec. 3.5. Book: positional-encoding.
    """
    check_even(d_model=d_model)
    angles = _angles(positions, d_model, base)
    waves = rearrange(torch.stack([angles.sin(), angles.cos()], dim=-1), "... pair two -> ... (pair two)")
    return waves.to(positions.dtype if positions.is_floating_point() else torch.get_default_dtype())


class SinusoidalPositions(nn.Module):
    """Adds nothing to learn: ``sinusoidal_encoding`` of the positions, to be added to the embeddings.

    Source: Vaswani et al. 2017, sec. 3.5. Book: positional-encoding.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_even(d_model=d_model)
        self.d_model = d_model

    def forward(self, positions: Float[Tensor, "*T"] | Int[Tensor, "*T"]) -> Float[Tensor, "*T D"]:
        return sinusoidal_encoding(positions, self.d_model)


class LearnedPositions(nn.Module):
    """One learned vector for each position below max_len.

    Source: Devlin et al. 2019 (BERT), sec. 3; Radford et al. 2018 (GPT). Book: positional-encoding.
    """

    def __init__(self, max_len: int, d_model: int) -> None:
        super().__init__()
        check_positive(max_len=max_len, d_model=d_model)
        self.weight = nn.Parameter(torch.randn(max_len, d_model) * 0.02)

    def forward(self, positions: Int[Tensor, "*T"]) -> Float[Tensor, "*T D"]:
        check_integers(positions, name="positions")
        check_range(positions, len(self.weight), name="positions")
        return self.weight[positions]


def rotate(
    x: Float[Tensor, "*batch T K"],
    positions: Int[Tensor, "T"],
    *,
    base: float = 10000.0,
    scaling: RopeScaling | None = None,
) -> Float[Tensor, "*batch T K"]:
    """Turn each pair of coordinates of the vector at position p by the angle p · base^(-2i/K).

    The dot product of two rotated vectors then depends on their distance alone. Coordinates i and i + K/2 form a
    pair, as in GPT-NeoX and the library transformers; the paper and Llama's weights as Meta publishes them pair 2i
    and 2i + 1, which is the same up to a fixed reordering of the coordinates. A scaling changes the angles for a
    longer context.

    Source: Su et al. 2021 (RoFormer), eq. 34. Book: positional-encoding.
    """
    check_float(x=x)
    if x.ndim < 2 or x.shape[-1] % 2:
        raise ValueError(f"x must be (..., tokens, an even width), got shape {tuple(x.shape)}")
    if positions.shape != x.shape[-2:-1]:
        raise ValueError(f"positions must be one for each of the {x.shape[-2]} tokens, got {tuple(positions.shape)}")
    angles = _angles(positions, x.shape[-1], base, scaling)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Rotary(nn.Module):
    """``rotate`` for tokens that follow one another from position start.

    Source: Su et al. 2021 (RoFormer), eq. 34. Book: positional-encoding.
    """

    def __init__(self, d_head: int, *, base: float = 10000.0, scaling: RopeScaling | None = None) -> None:
        super().__init__()
        check_even(d_head=d_head)
        check_above_zero(base=base)
        self.d_head, self.base, self.scaling = d_head, base, scaling

    def forward(self, x: Float[Tensor, "B H T K"], start: int = 0) -> Float[Tensor, "B H T K"]:
        if x.shape[-1] != self.d_head:
            raise ValueError(f"x must have width d_head={self.d_head}, got {x.shape[-1]}")
        positions = torch.arange(start, start + x.shape[-2], device=x.device)
        return rotate(x, positions, base=self.base, scaling=self.scaling)


def alibi_slopes(n_heads: int, *, dtype: torch.dtype | None = None) -> Float[Tensor, "H"]:
    """Slopes 2^(-8/H), 2^(-16/H), ..., 2^-8, one for each head.

    Where H is not a power of two, the slopes of the next lower power are followed by every other slope of the
    next higher one, as in the authors' code.

    Source: Press et al. 2022 (ALiBi), sec. 3. Book: positional-encoding.
    """
    check_positive(n_heads=n_heads)
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    slopes += [2 ** (-8 * (h + 1) / (2 * power)) for h in range(0, 2 * (n_heads - power), 2)]
    return torch.tensor(slopes, dtype=dtype)


class AlibiBias(nn.Module):
    """Subtracts slope · distance from the score of each key, so that far keys count less.

    Source: Press et al. 2022 (ALiBi), sec. 3. Book: positional-encoding.
    """

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.register_buffer("slopes", alibi_slopes(n_heads), persistent=False)

    def reset(self, device=None) -> None:
        """Compute the slopes anew, rounded once, to the dtype that they have."""
        slopes = alibi_slopes(len(self.slopes), dtype=torch.float64)
        self.slopes = slopes.to(device or self.slopes.device, self.slopes.dtype)

    def _apply(self, fn, recurse: bool = True) -> "AlibiBias":
        super()._apply(fn, recurse)  # .double(), .to(...), .to_empty(...)
        self.reset()
        return self

    def forward(self, n_queries: int, n_keys: int) -> Float[Tensor, "H T S"]:
        distance = _distances(n_queries, n_keys, self.slopes.device)
        return -self.slopes[:, None, None] * distance.abs()


def relative_buckets(
    distance: Int[Tensor, "*shape"], *, n_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True
) -> Int[Tensor, "*shape"]:
    """Number each distance key - query: near ones singly, far ones in ever wider buckets.

    Args:
        bidirectional: half of the buckets are for keys after the query; otherwise these fall into bucket 0.

    Source: Raffel et al. 2020 (T5), sec. 2.1, and the code published with it. Book: positional-encoding.
    """
    check_positive(n_buckets=n_buckets, max_distance=max_distance)
    check_integers(distance, name="distance")
    if bidirectional:
        check_even(n_buckets=n_buckets)
    half = n_buckets // 2 if bidirectional else n_buckets
    exact = half // 2  # distances below this have a bucket each
    if exact < 1:
        raise ValueError(f"n_buckets must be at least {4 if bidirectional else 2}, got {n_buckets}")
    if max_distance <= exact:
        raise ValueError(f"max_distance must be above {exact} for n_buckets={n_buckets}, got {max_distance}")
    offset = (distance > 0) * half if bidirectional else torch.zeros_like(distance)
    steps = distance.abs() if bidirectional else (-distance).clamp(min=0)
    far = (steps.clamp(min=1).float() / exact).log() / math.log(max_distance / exact) * (half - exact)
    far = (exact + far.long()).clamp(max=half - 1)
    return offset + torch.where(steps < exact, steps, far)


class RelativeBias(nn.Module):
    """A learned number for each head and each bucket of distances, added to the scores.

    Source: Raffel et al. 2020 (T5), sec. 2.1. Book: positional-encoding.
    """

    def __init__(
        self, n_heads: int, *, n_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True
    ) -> None:
        super().__init__()
        check_positive(n_heads=n_heads)
        self.options = {"n_buckets": n_buckets, "max_distance": max_distance, "bidirectional": bidirectional}
        relative_buckets(torch.zeros(1, dtype=torch.long), **self.options)  # refuses bad options
        self.weight = nn.Parameter(torch.randn(n_buckets, n_heads) * 0.02)

    def forward(self, n_queries: int, n_keys: int) -> Float[Tensor, "H T S"]:
        distance = _distances(n_queries, n_keys, self.weight.device)
        return rearrange(self.weight[relative_buckets(distance, **self.options)], "T S H -> H T S")


def _angles(positions: Tensor, width: int, base: float, scaling: RopeScaling | None = None) -> Tensor:
    """Angle of each position for each pair of coordinates; in float64, since late positions have large angles."""
    check_above_zero(base=base)
    pairs = torch.arange(0, width, 2, dtype=torch.float64, device=positions.device)
    frequencies = base ** (-pairs / width)
    if scaling is not None:
        frequencies = scaling(frequencies)
    return positions.unsqueeze(-1).double() * frequencies


def count_positions(start: int, end: int, mask: Bool[Tensor, "B L"] | None, device) -> Int[Tensor, "*B T"]:
    """Positions of the tokens from start to end, counted from the first real one of each row."""
    positions = torch.arange(start, end, device=device)
    if mask is None:
        return positions
    return (positions - first_real(mask)[:, None]).clamp(min=0)


def _distances(n_queries: int, n_keys: int, device) -> Int[Tensor, "T S"]:
    """Key position minus query position; the last query stands at the last key."""
    check_positive(n_queries=n_queries, n_keys=n_keys)
    if n_keys < n_queries:
        raise ValueError(f"n_keys must be at least n_queries={n_queries}, got {n_keys}")
    queries = torch.arange(n_keys - n_queries, n_keys, device=device)
    return torch.arange(n_keys, device=device) - queries[:, None]
