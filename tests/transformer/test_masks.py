import pytest
import torch

from lmbook.transformer import causal_mask, padding_mask, prefix_mask, window_mask


def rows(mask):
    assert mask.dtype == torch.bool
    return ["".join("x" if may else "." for may in row) for row in mask.tolist()]


def test_drawn_by_hand():
    assert rows(causal_mask(3)) == ["x..", "xx.", "xxx"]
    assert rows(causal_mask(2, 4)) == ["xxx.", "xxxx"]
    assert rows(window_mask(4, 2)) == ["x...", "xx..", ".xx.", "..xx"]
    assert rows(prefix_mask(4, 2)) == ["xx..", "xx..", "xxx.", "xxxx"]
    assert rows(padding_mask(torch.tensor([[5, 6, 0], [7, 0, 0]]), 0)) == ["xx.", "x.."]


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [0, 1, 3, 8])
def test_by_the_definition(n, size):
    if size:
        window = window_mask(n, size)
        assert all(window[i, j] == (i - size < j <= i) for i in range(n) for j in range(n))
        past = causal_mask(n, n + size)
        assert all(past[i, j] == (j <= i + size) for i in range(n) for j in range(n + size))
    if size <= n:
        prefix = prefix_mask(n, size)
        assert all(prefix[i, j] == (j <= i or j < size) for i in range(n) for j in range(n))


def test_a_whole_window_is_causal_and_a_whole_prefix_sees_everything():
    assert torch.equal(window_mask(6, 6), causal_mask(6))
    assert torch.equal(prefix_mask(6, 0), causal_mask(6))
    assert prefix_mask(6, 6).all()


def test_on_the_device(device):
    for mask in (causal_mask(3, device=device), window_mask(3, 2, device=device), prefix_mask(3, 1, device=device)):
        assert mask.device.type == device.type
