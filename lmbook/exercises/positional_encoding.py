"""Checkers for the exercises of the positional-encoding chapter."""

import math

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise, near
from lmbook.transformer import alibi_slopes, relative_buckets, sinusoidal_encoding


@exercise
def read_clock(answer) -> str:
    """``answer(rows)`` tells from noisy sinusoidal encodings which positions below 1,000 they belong to."""
    rng = torch.Generator().manual_seed(0)
    cases = [(torch.arange(4), 16, 0.0), (torch.tensor([999, 0, 500, 7, 999]), 64, 0.0)]
    cases += [(torch.randperm(1000, generator=rng)[:60], 64, 0.1), (torch.tensor([63, 512, 3]), 128, 0.2)]
    for positions, d_model, noise in cases:
        rows = sinusoidal_encoding(positions, d_model)
        got = answer(rows + noise * torch.randn(rows.shape, generator=rng))
        if near(got, positions + 1):
            raise WrongAnswer("one too many: the first position is 0")
        if max(positions) > 6 and near(got, (positions % (2 * math.pi)).round()):
            raise WrongAnswer("you read the quick hand alone, and it begins again every 6.28 tokens")
        compare(got, positions, f"{len(positions)} rows of width {d_model}, noise {noise}")
    return "all hands together tell the time, even through noise"


@exercise
def alibi(answer) -> str:
    """``answer(n_queries, n_keys, slopes)`` is the bias of all heads; the last query stands at the last key."""
    for n_queries, n_keys, n_heads in [(1, 1, 1), (4, 4, 2), (2, 5, 8), (1, 6, 4)]:
        slopes = alibi_slopes(n_heads) * (0.7 if n_queries == 2 else 1)
        steps = torch.arange(n_keys - n_queries, n_keys)[:, None] - torch.arange(n_keys)
        got, want = answer(n_queries, n_keys, slopes), -slopes[:, None, None] * steps.abs()
        if n_keys > 1 and near(got, -want):
            raise WrongAnswer("the sign: a far key should lose, and your bias rewards it")
        if n_queries > 1 and (near(got, slopes[:, None, None] * steps) or near(got, -slopes[:, None, None] * steps)):
            raise WrongAnswer("keys before and after the query have different signs: the distance has none")
        if n_queries > 1 and near(got, -slopes[:, None, None] * steps.clamp(min=0)):
            raise WrongAnswer("keys after the query are far, too: the distance counts both ways")
        early = (torch.arange(n_queries)[:, None] - torch.arange(n_keys)).abs()
        if n_queries < n_keys and near(got, -slopes[:, None, None] * early):
            raise WrongAnswer("your first query stands at the first key: it is the last that stands at the last")
        compare(got, want, f"{n_queries} queries, {n_keys} keys, {n_heads} heads")
    return "each step away costs the same, with a cache as without"


@exercise
def reorder_rows(answer) -> str:
    """``answer(weight, n_heads)`` puts, within each head, the even rows before the odd ones."""
    for seed, (n_heads, d_head, d_model) in enumerate([(1, 4, 3), (1, 8, 8), (2, 6, 5), (4, 10, 40)]):
        rng = torch.Generator().manual_seed(seed)
        weight = torch.randn(n_heads * d_head, d_model, generator=rng, dtype=torch.float64)
        heads = weight.view(n_heads, d_head, d_model)
        got, want = answer(weight, n_heads), torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).flatten(0, 1)
        if near(got, torch.stack(heads.chunk(2, dim=1), dim=2).reshape(weight.shape)) and d_head > 4:
            raise WrongAnswer("that is the way back, from halves to neighbours")
        if near(got, torch.cat([heads[:, 1::2], heads[:, 0::2]], dim=1).flatten(0, 1)):
            raise WrongAnswer("the odd rows came first: then every hand turns the wrong way")
        if n_heads > 1 and near(got, torch.cat([weight[0::2], weight[1::2]])):
            raise WrongAnswer("the heads were mixed: reorder the rows of each head by themselves")
        if near(got, weight):
            raise WrongAnswer("the rows are as they were")
        compare(got, want, f"{n_heads} heads of width {d_head}")
    return "even rows first in every head: the weights fit the other pairing"


@exercise
def bucket(answer) -> str:
    """``answer(distance)`` is T5's bucket in an encoder: 32 buckets in both directions, maximum distance 128."""
    for distance in [0, -1, -7, -8, -9, -12, -20, -60, -88, -91, -128, -1000, 1, 7, 8, 11, 37, 88, 91, 127, 1000]:
        got, want = answer(distance), int(relative_buckets(torch.tensor(distance)))
        if near(got, want):
            continue
        if near(got, int(relative_buckets(torch.tensor(-distance)))):
            which = "the directions are exchanged" if distance < 0 else "keys after the query have buckets of their own"
            raise WrongAnswer(f"{distance}: {which}; those of keys *after* the query begin at 16")
        if near(got, int(relative_buckets(torch.tensor([-abs(distance)]), bidirectional=False))):
            raise WrongAnswer(f"{distance}: each direction has 16 buckets now, of which 8 are exact")
        if isinstance(got, float) and got != int(got):
            raise WrongAnswer(f"{distance}: {got:.3f} is no bucket; round down to a whole number")
        compare(got, want, f"key minus query = {distance}")
    return "near ones singly, far ones together, on either side"


@exercise
def half_score(answer) -> str:
    """``answer(base, width)`` is the first distance at which the mean of the hands' cosines is below one half."""
    measured = []
    small = [(10000.0, 64), (500000.0, 64), (100.0, 64), (10000.0, 16), (500000.0, 128)]
    for base, width in [*small, (10000.0, 4096), (500000.0, 4096)]:
        hands = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        score = (torch.arange(2000)[:, None] * hands).cos().mean(-1)
        got, want = answer(base, width), int((score < 0.5).nonzero()[0])
        got = got.reshape(()) if isinstance(got, torch.Tensor) and got.numel() == 1 else got
        if near(got, want - 1):
            raise WrongAnswer(f"base {base:g}: {want - 1} is still above one half; the first below is wanted")
        if near(got, int((score >= 0.5).nonzero()[-1]) + 1) and score[want:].max() > 0.5:
            raise WrongAnswer(f"base {base:g}: it was below one half earlier; the *first* such distance is wanted")
        compare(got, want, f"base {base:g}, width {width}")
        measured.append(want)
    return f"{measured[0]} tokens at base 10,000, {measured[1]} at 500,000: not three times as far"


@exercise
def yarn(answer) -> str:
    """``answer(width, trained, factor)`` is the speed of each pair by YaRN's rule, with a ramp from 1 to 32 turns."""
    for width, trained, factor in [(16, 64, 4), (64, 2048, 8), (128, 8192, 1), (6, 10000, 16)]:
        speed = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        turns = trained * speed / (2 * math.pi)
        keep = ((turns - 1) / 31).clamp(0, 1)
        got, want = answer(width, trained, factor), speed * (keep + (1 - keep) / factor)
        if factor > 1 and near(got, speed / factor, rtol=1e-4, atol=0):
            raise WrongAnswer("that is interpolation: all hands are slowed, the quick ones too")
        if factor > 1 and near(got, speed * (1 - keep + keep / factor), rtol=1e-4, atol=0):
            raise WrongAnswer("the ramp is upside down: the quick hands should be left as they are")
        angle = ((trained * speed - 1) / 31).clamp(0, 1)
        if factor > 1 and near(got, speed * (angle + (1 - angle) / factor), rtol=1e-4, atol=0):
            raise WrongAnswer("a full turn is 2π radians: you counted radians")
        compare(got, want, f"width {width}, trained on {trained}, factor {factor}", rtol=1e-4, atol=0)
    return "quick hands as they were, slow hands slowed, a ramp between them"
