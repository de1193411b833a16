"""Muon against the SVD, an update by hand, and torch's own; and which parameters it takes."""

import pytest
import torch
import torch.nn as nn

from lmbook.pretraining import Muon, load_checkpoint, muon, orthogonalise, save_checkpoint, train
from lmbook.transformer import GPT, GPTConfig


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 5)])
def test_singular_vectors_stay_and_values_come_near_one(shape):
    """In the basis of its own SVD, the result is a diagonal."""
    matrix = random(*shape)
    u, before, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.mT @ orthogonalise(matrix) @ v.mT
    after = turned.diagonal()
    assert (turned - torch.diag(after)).abs().max() < 1e-12
    expected = before / before.norm()
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    torch.testing.assert_close(after, expected, atol=1e-12, rtol=0)
    assert after[before > 0.01 * before.norm()].min() > 0.6 and after.max() < 1.3


def test_the_range_that_the_docstring_names():
    values = torch.linspace(0.01, 1, 100_000, dtype=torch.float64)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    assert 0.6 < values.min() and values.max() < 1.3


def test_stacks_scales_and_zeros():
    many = random(3, 4, 5)
    alone = torch.stack([orthogonalise(matrix) for matrix in many])
    torch.testing.assert_close(orthogonalise(many), alone, atol=1e-12, rtol=0)
    torch.testing.assert_close(orthogonalise(1000 * many), alone, atol=1e-12, rtol=0)
    assert not orthogonalise(torch.zeros(2, 3)).any() and orthogonalise(many.float()).dtype == torch.float32


def test_two_updates_by_hand():
    weight = nn.Parameter(random(3, 2))
    expected, mean = weight.detach().clone(), torch.zeros(3, 2).double()
    optimizer = Muon([{"params": [weight], "weight_decay": 0.1, "momentum": 0.9}], lr=0.02)
    for seed in (1, 2):
        weight.grad = gradient = random(3, 2, seed=seed)
        optimizer.step()
        mean = 0.9 * mean + 0.1 * gradient
        expected = (1 - 0.02 * 0.1) * expected - 0.02 * 0.2 * 3**0.5 * orthogonalise(0.1 * gradient + 0.9 * mean)
        torch.testing.assert_close(weight.detach(), expected, atol=1e-12, rtol=0)
        assert weight.grad is gradient  # as every optimizer leaves it


def test_it_steps_as_that_of_torch():
    """Theirs multiplies in bfloat16, so that a step agrees to two digits."""
    mine, theirs = nn.Parameter(random(6, 4).float()), nn.Parameter(random(6, 4).float())
    ours = Muon([{"params": [mine], "weight_decay": 0.1, "momentum": 0.95}], lr=0.01)
    other = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for seed in range(1, 6):
        mine.grad = theirs.grad = random(6, 4, seed=seed).float()
        before = mine.detach().clone()
        ours.step()
        other.step()
        step, their_step = mine.detach() - before, theirs.detach() - before
        assert (step - their_step).norm() < 0.05 * step.norm()
        with torch.no_grad():
            theirs.copy_(mine)


def test_the_rest_is_adamw():
    one, two = (nn.Parameter(random(5).float()) for _ in range(2))
    matrix = nn.Parameter(random(3, 3).float())
    ours = Muon(
        [{"params": [matrix], "momentum": 0.95}, {"params": [one], "weight_decay": 0.2}], lr=0.01, betas=(0.8, 0.9)
    )
    theirs = torch.optim.AdamW([two], lr=0.01, weight_decay=0.2, betas=(0.8, 0.9))
    for seed in range(4):
        one.grad = two.grad = random(5, seed=seed).float()
        matrix.grad = random(3, 3, seed=seed).float()
        ours.step()
        theirs.step()
        assert torch.equal(one, two)


SIZES = {"vocab_size": 11, "max_len": 8, "d_model": 8, "n_layers": 2, "n_heads": 2}


@pytest.mark.parametrize("options", [{}, {"tie_embeddings": False}])
def test_it_takes_the_matrices_of_the_layers(options):
    model = GPT(GPTConfig(**SIZES, **options))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = muon(model, weight_decay=0.3).param_groups
    taken = {names[id(p)] for group in groups if "momentum" in group for p in group["params"]}
    assert taken == {name for name, p in model.named_parameters() if name.startswith("blocks") and p.ndim == 2}
    assert sorted(names[id(p)] for group in groups for p in group["params"]) == sorted(names.values())
    decays = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    assert decays == taken | ({"unembed.weight"} if options else set())
    assert muon(model, weight_decay=0.0).param_groups[0]["momentum"] == 0.95


def test_it_learns_and_goes_on_from_a_checkpoint(tiny, batches, same, tmp_path):
    whole, first, second = tiny(), tiny(), tiny(seed=8)
    expected = list(train(whole, batches(), steps=10, lr=1e-2, optimizer=muon(whole)))
    found = list(train(first, batches(), steps=5, lr=1e-2, optimizer=muon(first), folder=tmp_path))
    options = {"folder": tmp_path, "resume": True, "optimizer": muon(second)}
    found += train(second, batches(seed=9), steps=10, lr=1e-2, **options)
    assert found == expected and same(whole, second) and expected[-1].loss < expected[0].loss


def test_the_state_of_another_optimizer_is_refused(tiny, tmp_path):
    model = tiny()
    save_checkpoint(tmp_path / "one", model, optimizer=muon(model))
    with pytest.raises(ValueError, match="holds the state of Muon, not of AdamW"):
        load_checkpoint(tmp_path / "one", model, optimizer=torch.optim.AdamW(model.parameters()))
