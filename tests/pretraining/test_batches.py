"""The order of the data: whole epochs, the same again from a seed and a position, cut up between processes."""

import itertools
from functools import partial

import pytest
import torch

from lmbook.pretraining import IGNORE, Batches, masked_lm

VOCAB = 23


def windows(source, n):
    return [next(source)[0] for _ in range(n)]


def test_an_epoch_visits_windows_that_do_not_overlap_once():
    tokens = torch.arange(1000)
    source = Batches(tokens, batch_size=5, length=8, seed=3)
    assert source.per_epoch == (1000 - 7) // 8 // 5
    orders = []
    for _ in range(3):
        rows = torch.cat(
            [torch.cat([inputs, targets[:, -1:]], dim=1) for inputs, targets in (next(source) for _ in range(24))]
        )
        assert (rows.diff(dim=1) == 1).all()
        starts = rows[:, 0]
        assert len(set(starts.tolist())) == 120 and len(set((starts % 8).tolist())) == 1
        orders.append(starts.tolist())
    assert len({tuple(sorted(order)) for order in orders}) > 1 and orders[0] != sorted(orders[0])
    assert max(sum(orders, [])) <= 1000 - 8


@pytest.mark.parametrize("n_tokens, batch_size", [(1000, 2), (513, 1), (1027, 2)])
def test_every_token_is_a_target_in_some_epoch(n_tokens, batch_size):
    source, seen = Batches(torch.arange(n_tokens), batch_size=batch_size, length=257), set()
    for _ in range(6000):
        seen |= set(next(source)[1].flatten().tolist())
    assert seen == set(range(1, n_tokens))  # nothing comes before the first token


def test_all_windows_have_a_place_even_with_the_latest_start():
    for seed in range(50):
        source = Batches(torch.arange(23), batch_size=2, length=8, seed=seed)
        assert source.per_epoch == 1 and next(source)[1].max() <= 22


@pytest.mark.parametrize("objective", [None, partial(masked_lm, vocab_size=VOCAB, mask_id=0)])
def test_batches_go_on_from_a_state(batches, objective):
    options = {} if objective is None else {"objective": objective}
    source, other = batches(seed=1, **options), batches(seed=2, **options)
    for _ in range(100):  # more than an epoch
        next(source)
    other.load_state(source.state())
    for _ in range(3):
        one, two = next(source), next(other)
        assert one[0].equal(two[0]) and one[1].equal(two[1])
    assert source.state() == other.state() and source.state()["position"] == 103


def test_seeds_and_positions_give_different_batches(batches):
    objective = partial(masked_lm, vocab_size=VOCAB, mask_id=0)
    assert not next(batches(seed=1))[0].equal(next(batches(seed=2))[0])
    source = batches(objective=objective, batch_size=100)
    chosen = [(next(source)[1] != IGNORE) for _ in range(source.per_epoch + 1)]
    assert len(chosen) == 4 and not any(one.equal(two) for one, two in itertools.combinations(chosen, 2))


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_a_batch(batches, world_size):
    objective = partial(masked_lm, vocab_size=VOCAB, mask_id=0)
    alone = batches(objective=objective)
    together = [batches(objective=objective, rank=rank, world_size=world_size) for rank in range(world_size)]
    for _ in range(5):
        whole, parts = next(alone), [next(source) for source in together]
        for kind in (0, 1):
            assert torch.stack([part[kind] for part in parts], dim=1).flatten(0, 1).equal(whole[kind])
    assert {str(source.state()) for source in together} == {str(alone.state())}


def test_tokens_of_any_integer_type(text):
    expected = next(Batches(text, batch_size=2, length=5))[0]
    for dtype in (torch.uint8, torch.int16, torch.uint16, torch.int32):
        found = next(Batches(text.to(dtype), batch_size=2, length=5))[0]
        assert found.dtype == torch.int64 and found.equal(expected)


def test_dictionaries_of_inputs_are_cut_too(text):
    def objective(tokens, *, generator):
        return {"ids": tokens, "more": (tokens, [tokens])}, tokens

    inputs, targets = next(Batches(text, batch_size=4, length=5, objective=objective, rank=1, world_size=2))
    assert inputs["ids"].shape == inputs["more"][1][0].shape == targets.shape == (2, 5)
