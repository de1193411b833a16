"""Schedules against those of transformers, and which weights decay."""

import pytest
import torch
import torch.nn as nn

from lmbook.pretraining import adamw, warmup_cosine, warmup_linear, warmup_stable_decay, weight_decay_groups
from lmbook.transformer import BERT, GPT, BertConfig, EncoderDecoder, EncoderDecoderConfig, GPTConfig


@pytest.mark.parametrize("ours, name", [(warmup_cosine, "cosine"), (warmup_linear, "linear")])
@pytest.mark.parametrize("warmup, total", [(0, 7), (10, 100), (99, 100), (1, 2)])
def test_schedule_is_that_of_transformers(ours, name, warmup, total):
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=3e-3)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    for step in range(total + 5):
        mine = ours(step, warmup=warmup, total=total, peak=3e-3)
        # beyond the end a cosine would rise again, in theirs too; ours stays at the floor
        assert mine == pytest.approx(schedule.get_last_lr()[0] if step <= total else 0.0, rel=0, abs=1e-15)
        optimizer.step()
        schedule.step()


def test_schedules_by_hand():
    options = {"warmup": 4, "total": 12, "peak": 1.0, "floor": 0.2}
    assert [warmup_linear(step, **options) for step in (0, 1, 4, 8, 12, 20)] == pytest.approx(
        [0, 0.25, 1, 0.6, 0.2, 0.2]
    )
    assert [warmup_cosine(step, **options) for step in (2, 4, 8, 12, 20)] == pytest.approx([0.5, 1, 0.6, 0.2, 0.2])
    assert warmup_cosine(6, **options) == pytest.approx(0.2 + 0.8 * (1 + 2**-0.5) / 2)


@pytest.mark.parametrize("warmup, decay, total", [(0, 7, 7), (10, 20, 100), (10, 90, 100), (1, 1, 5)])
def test_the_level_schedule_is_that_of_transformers(warmup, decay, total):
    from transformers import get_wsd_schedule

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=3e-3)
    options = {"num_warmup_steps": warmup, "num_decay_steps": decay, "num_training_steps": total}
    schedule = get_wsd_schedule(optimizer, **options, decay_type="linear")
    for step in range(total + 5):
        mine = warmup_stable_decay(step, warmup=warmup, decay=decay, total=total, peak=3e-3)
        assert mine == pytest.approx(schedule.get_last_lr()[0], rel=0, abs=1e-15)
        optimizer.step()
        schedule.step()


def test_a_longer_run_shares_the_level_part():
    options = {"warmup": 4, "decay": 3, "peak": 1.0}
    assert [warmup_stable_decay(step, total=12, **options) for step in (0, 2, 4, 9, 10, 11, 12, 20)] == pytest.approx(
        [0, 0.5, 1, 1, 2 / 3, 1 / 3, 0, 0]
    )
    assert warmup_stable_decay(11, total=12, floor=0.4, **options) == pytest.approx(0.6)
    for step in range(10):
        assert warmup_stable_decay(step, total=12, **options) == warmup_stable_decay(step, total=50, **options)


@pytest.mark.parametrize("change", [{"decay": 0}, {"decay": 9}, {"warmup": 12}, {"step": -1}, {"floor": 2.0}])
def test_a_level_schedule_that_cannot_be(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        warmup_stable_decay(**({"step": 1, "warmup": 4, "decay": 8, "total": 12, "peak": 1.0} | change))


def names(model, weight_decay=0.1):
    """Names of the parameters that decay, and of those that do not."""
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {0.0: [], weight_decay: []}
    for group in weight_decay_groups(model, weight_decay):
        found[group["weight_decay"]] += [known[id(parameter)] for parameter in group["params"]]
    return sorted(found[weight_decay]), sorted(found[0.0])


SIZES = {"vocab_size": 11, "max_len": 8, "d_model": 8, "n_layers": 1, "n_heads": 2}


def test_matrices_decay_and_biases_norms_and_embeddings_do_not():
    decay, rest = names(GPT(GPTConfig(**SIZES)))
    parts = ["feed_forward.sublayer.w_in", "feed_forward.sublayer.w_out"]
    parts += [f"self_attention.sublayer.w_{letter}" for letter in "kovq"]
    assert decay == sorted(f"blocks.0.{part}.weight" for part in parts)
    assert {"embed.weight", "positions.weight", "norm.weight", "blocks.0.self_attention.sublayer.w_q.bias"} <= set(rest)


@pytest.mark.parametrize(
    "model, embeddings, output",
    [
        (lambda: GPT(GPTConfig(**SIZES)), {"embed.weight", "positions.weight"}, set()),
        (lambda: GPT(GPTConfig(**SIZES, tie_embeddings=False, positions="t5")), {"embed.weight"}, {"unembed.weight"}),
        (
            lambda: BERT(BertConfig(**SIZES, d_ff=8)),
            {f"encoder.{part}.weight" for part in ("embed", "segments", "positions")},
            {"transform.weight", "is_next.weight", "encoder.pooler.weight"},
        ),
        (lambda: EncoderDecoder(EncoderDecoderConfig(**SIZES, d_head=4, d_ff=8)), set(), set()),
        (lambda: nn.LSTM(3, 4), set(), {"weight_ih_l0", "weight_hh_l0"}),
    ],
    ids=["tied", "untied", "bert", "t5", "lstm"],
)
def test_every_parameter_is_in_one_group_once(model, embeddings, output):
    model = model()
    decay, rest = names(model)
    assert sorted(decay + rest) == sorted(name for name, _ in model.named_parameters())
    assert embeddings <= set(rest) and output <= set(decay)
    shapes = dict(model.named_parameters())
    assert all(shapes[name].ndim == 2 for name in decay)
    unusual = [name for name in rest if shapes[name].ndim == 2]
    assert all(any(part in name for part in ("embed", "positions", "segments", "bias")) for name in unusual)


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    assert names(model) == (["1.weight"], ["1.bias"])


def test_adamw_decays_matrices_only():
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = adamw(model, weight_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] * (0.95 if name == "2.weight" else 1.0))
    assert all(group["fused"] and group["betas"] == (0.9, 0.95) for group in optimizer.param_groups)
