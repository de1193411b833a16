import math
from functools import partial

import pytest
import torch
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.t5.modeling_t5 import T5Attention

from lmbook.transformer import (
    AlibiBias,
    LearnedPositions,
    RelativeBias,
    Rotary,
    SinusoidalPositions,
    alibi_slopes,
    relative_buckets,
    rotate,
    sinusoidal_encoding,
)

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)


@pytest.mark.parametrize("base", [10000.0, 50.0])
def test_sinusoidal_is_the_formula_of_the_paper(base):
    expected = torch.zeros(20, 12).double()
    for pos in range(20):
        for i in range(6):
            expected[pos, 2 * i] = math.sin(pos / base ** (2 * i / 12))
            expected[pos, 2 * i + 1] = math.cos(pos / base ** (2 * i / 12))
    close(sinusoidal_encoding(torch.arange(20).double(), 12, base=base), expected)
    in_single = sinusoidal_encoding(torch.arange(20), 12, base=base)
    assert in_single.dtype == torch.float32 and torch.equal(in_single, expected.float())


def test_sinusoidal_module_takes_positions_of_any_shape():
    positions = torch.tensor([[0, 3], [100_000, 7]])
    out = SinusoidalPositions(8)(positions)
    assert out.shape == (2, 2, 8) and torch.equal(out, sinusoidal_encoding(positions, 8))
    assert out[1, 0, 0].item() == pytest.approx(math.sin(100_000), abs=1e-7)


def test_learned_positions_are_rows():
    layer = LearnedPositions(5, 4)
    assert torch.equal(layer(torch.tensor([[4, 0], [2, 2]])), layer.weight[torch.tensor([[4, 0], [2, 2]])])


@pytest.mark.parametrize("base", [10000.0, 500000.0])
def test_rotate_multiplies_complex_numbers(base, randn):
    x, positions = randn(2, 3, 6, 8), torch.tensor([0, 1, 5, 2, 1000, 8191])
    angles = torch.outer(
        positions.double(), torch.tensor([base ** (-2 * i / 8) for i in range(4)], dtype=torch.float64)
    )
    numbers = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angles), angles)
    close(rotate(x, positions, base=base), torch.cat([numbers.real, numbers.imag], dim=-1))


def test_rotate_pairs_as_transformers_does(randn):
    q, k, positions = randn(2, 3, 6, 8), randn(2, 3, 6, 8), torch.arange(4, 10)
    angles = torch.outer(positions.double(), 10000.0 ** (-torch.arange(0, 8, 2).double() / 8))
    angles = torch.cat([angles, angles], dim=-1)[None]
    expected_q, expected_k = apply_rotary_pos_emb(q, k, angles.cos(), angles.sin())
    rotary = Rotary(8)
    close(rotary(q, 4), expected_q)
    close(rotary(k, 4), expected_k)


def test_rotated_products_depend_on_distance_alone(randn):
    q, k, rotary = randn(1, 1, 1, 8), randn(1, 1, 1, 8), Rotary(8)
    product = lambda i, j: (rotary(q, i) * rotary(k, j)).sum()  # noqa: E731
    close(product(3, 1), product(1003, 1001))
    close(product(2, 9), product(0, 7))
    assert (product(3, 1) - product(1, 3)).abs() > 1e-3
    close(rotary(q, 77).norm(), q.norm())
    close(rotary(q, 0), q)


def test_late_positions_keep_their_precision(randn):
    """The angle of position 100 000 is computed in float64, whatever the precision of x."""
    x = randn(1, 1, 1, 8)
    torch.testing.assert_close(Rotary(8)(x.float(), 100_000).double(), Rotary(8)(x, 100_000), rtol=0, atol=1e-6)


def test_alibi_slopes():
    published = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256])
    assert torch.equal(alibi_slopes(8), published)
    assert torch.equal(alibi_slopes(1), torch.tensor([1 / 256]))
    by_hand = torch.tensor([1 / 16, 1 / 256, 1 / 4])  # 2 heads, then the first of 4
    assert torch.equal(alibi_slopes(3), by_hand)
    torch.testing.assert_close(alibi_slopes(12)[8:], torch.tensor([2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]))


@pytest.mark.parametrize("n_heads", [1, 2, 3, 6, 8, 12, 20, 25, 32])
def test_alibi_equals_transformers(n_heads):
    """Bloom's bias, slope · key position, differs from ours by a number that is the same for all keys of a query."""
    bloom = build_alibi_tensor(torch.ones(1, 9), n_heads, torch.float32)
    ours = AlibiBias(n_heads)(1, 9)
    torch.testing.assert_close(ours - ours[..., :1], bloom - bloom[..., :1])


def test_alibi_in_float64_does_not_pass_through_float32():
    """2^-0.5 of 12 heads, in a model that was made in float32 and then widened."""
    slopes = AlibiBias(12).half().double().slopes
    assert slopes[8].item() == 2**-0.5 and torch.equal(slopes, alibi_slopes(12, dtype=torch.float64))
    assert torch.equal(AlibiBias(12).slopes, alibi_slopes(12, dtype=torch.float64).float())


def test_alibi_bias_by_hand():
    bias = AlibiBias(8)(2, 3)
    torch.testing.assert_close(bias[0], torch.tensor([[-0.5, 0.0, -0.5], [-1.0, -0.5, 0.0]]))
    torch.testing.assert_close(bias[7], bias[0] / 128)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("n_buckets, max_distance", [(32, 128), (32, 256), (8, 20), (4, 3)])
def test_buckets_equal_transformers(bidirectional, n_buckets, max_distance):
    distance = torch.arange(-300, 301)
    expected = T5Attention._relative_position_bucket(distance, bidirectional, n_buckets, max_distance)
    ours = relative_buckets(distance, n_buckets=n_buckets, max_distance=max_distance, bidirectional=bidirectional)
    assert torch.equal(ours, expected)
    assert ours.min() == 0 and ours.max() == n_buckets - 1


def test_buckets_by_hand():
    distance = torch.tensor([0, -1, 1, -7, 7, -8, -15, -127, -128, 1000])
    assert relative_buckets(distance).tolist() == [0, 1, 17, 7, 23, 8, 9, 15, 15, 31]
    one_way = relative_buckets(distance, bidirectional=False).tolist()
    assert one_way == [0, 1, 0, 7, 0, 8, 15, 31, 31, 0]


@pytest.mark.parametrize("bidirectional", [True, False])
def test_relative_bias_is_a_table_of_buckets(bidirectional):
    layer = RelativeBias(3, n_buckets=8, max_distance=20, bidirectional=bidirectional)
    bias = layer(4, 30)
    assert bias.shape == (3, 4, 30)
    for head, query, key in ((0, 0, 0), (1, 3, 29), (2, 1, 29), (2, 2, 5), (0, 0, 29)):
        distance = torch.tensor(key - (26 + query))
        bucket = T5Attention._relative_position_bucket(distance, bidirectional, 8, 20)
        assert bias[head, query, key] == layer.weight[bucket, head]


def test_on_the_device(device, randn):
    x = randn(1, 2, 5, 8).to(device)
    close(Rotary(8)(x, 3).cpu(), Rotary(8)(x.cpu(), 3))
    for layer in (AlibiBias(4), RelativeBias(4)):
        on_device = layer.to(device)(3, 5)
        assert on_device.device.type == device.type
        torch.testing.assert_close(on_device.cpu(), layer.cpu()(3, 5))
