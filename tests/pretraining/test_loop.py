"""The loop against a hand-written one, to the bit; accumulation, clipping, evaluation, failure and resuming."""

import math
from functools import partial
from itertools import islice

import pytest
import torch
import torch.nn.functional as F

from lmbook.pretraining import (
    IGNORE,
    Step,
    evaluate,
    load_checkpoint,
    loss,
    masked_lm,
    train,
    warmup_cosine,
)

VOCAB = 23
schedule = partial(warmup_cosine, warmup=3, total=10, peak=1e-2, floor=1e-3)


def run(*args, **options):
    return list(train(*args, **({"steps": 10, "lr": schedule} | options)))


def by_hand(model, batches, steps=10, clip=1.0):
    """A training loop as anyone would write it."""
    tables = ("embed.weight", "positions.weight")
    decay = [p for n, p in model.named_parameters() if p.ndim == 2 and n not in tables]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or n in tables]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), fused=True)
    records = []
    for step in range(1, steps + 1):
        inputs, targets = next(batches)
        value = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * step / 3 if step < 3 else 1e-3 + 9e-3 * (1 + math.cos(math.pi * (step - 3) / 7)) / 2
        optimizer.step()
        records.append((step, value.item(), norm.item()))
    return records


@pytest.mark.parametrize("options", [{}, {"dropout": 0.1}, {"tie_embeddings": False, "norm": "rms"}])
def test_weights_are_those_of_a_loop_by_hand_to_the_bit(tiny, batches, same, options):
    model, other = tiny(**options), tiny(**options)
    torch.manual_seed(1)
    expected = by_hand(other, batches(), clip=0.5)
    torch.manual_seed(1)
    found = run(model, batches(), clip=0.5)
    assert [(step.step, step.loss, step.grad_norm) for step in found] == expected
    assert same(model, other) and not same(model, tiny(**options))
    assert all(step.tokens == 32 and step.lr == schedule(step.step) for step in found)
    assert found[-1].loss < found[0].loss


def test_steps_are_small_frozen_records(tiny, batches):
    step = next(train(tiny(), batches(), steps=1, lr=1e-3))
    assert isinstance(step, Step) and step.lr == 1e-3 and step.validation_loss is None
    with pytest.raises(AttributeError):
        step.loss = 0.0


@pytest.mark.parametrize("accumulate", [2, 3, 6])
@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_accumulated_batches_equal_one_big_batch(tiny, batches, accumulate, objective):
    """Under MLM the micro-batches have different numbers of targets, so that a mean of means would be wrong."""
    options = {} if objective == "causal" else {"objective": partial(masked_lm, vocab_size=VOCAB, mask_id=0)}
    big = list(islice(batches(batch_size=12, **options), 5))
    small = [tuple(pair) for batch in big for pair in zip(*(part.chunk(accumulate) for part in batch), strict=True)]
    if objective == "masked":
        assert len({int((targets != IGNORE).sum()) for _, targets in small}) > 1
    one, two = tiny().double(), tiny().double()
    expected = run(one, big, steps=5)
    found = run(two, small, steps=5, accumulate=accumulate)
    for a, b in zip(expected, found, strict=True):
        assert (a.loss, a.grad_norm) == pytest.approx((b.loss, b.grad_norm), rel=0, abs=1e-10) and a.tokens == b.tokens
    worst = max((a - b).abs().max().item() for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert worst < 1e-10


def test_clipping_bounds_the_update(tiny, batches):
    """Under plain SGD with lr 1 a step is as long as the gradient after clipping."""
    for clip, expected in ((1e-2, 1e-2), (math.inf, None)):
        model = tiny()
        before = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        [step] = run(model, batches(), steps=1, lr=1.0, optimizer=optimizer, clip=clip)
        moved = (torch.nn.utils.parameters_to_vector(model.parameters()) - before).norm().item()
        assert step.grad_norm > 0.1
        assert moved == pytest.approx(expected or step.grad_norm, rel=1e-3)


def test_evaluate_weighs_by_targets_and_disturbs_nothing(tiny, batches):
    model = tiny(dropout=0.5).train()
    validation = list(islice(batches(objective=partial(masked_lm, vocab_size=VOCAB, mask_id=0)), 4))
    state = torch.get_rng_state()
    found = evaluate(model, validation)
    assert model.training and torch.get_rng_state().equal(state) and found == evaluate(model, validation)
    model.eval()
    logits = torch.cat([model(inputs) for inputs, _ in validation])
    assert found == pytest.approx(loss(logits, torch.cat([targets for _, targets in validation])).item(), abs=1e-6)
    assert evaluate(model, validation) == found and not model.training

    def random_loss(model, inputs, targets):
        return torch.rand(()) + 0 * loss(model(inputs), targets)

    evaluate(model, validation, loss_fn=random_loss)
    assert torch.get_rng_state().equal(state)


def test_each_part_keeps_its_mode_its_gradient_and_its_hooks(tiny, batches):
    model, calls = tiny(dropout=0.5, n_layers=2).train(), []
    model.blocks[0].eval()  # frozen, say
    model.blocks[1].register_forward_hook(lambda module, *_: calls.append(module.training))
    loss(*(lambda pair: (model(pair[0]), pair[1]))(next(batches()))).backward()
    modes = {name: module.training for name, module in model.named_modules()}
    kept = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    evaluate(model, [next(batches())])
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(torch.equal(parameter.grad, kept[name]) for name, parameter in model.named_parameters())
    assert calls == [True, False]
    with pytest.raises(ValueError, match="loss broke"):
        evaluate(model, [next(batches())], loss_fn=lambda *_: (_ for _ in ()).throw(ValueError("loss broke")))
    assert modes == {name: module.training for name, module in model.named_modules()}


def test_a_part_in_eval_mode_stays_so_while_the_rest_trains(tiny, batches):
    model, seen = tiny(dropout=0.5, n_layers=2).train(), []
    model.blocks[0].eval()
    for block in model.blocks:
        block.self_attention.dropout.register_forward_hook(lambda module, *_: seen.append(module.training))
    for _ in train(model, batches(), steps=2, lr=1e-2, validation=[next(batches())], evaluate_every=1):
        model.eval()  # as one does to sample
    assert seen == 2 * [False, True, False, False] and not model.training  # a step, and its evaluation
    model = tiny(dropout=0.5).eval()
    [_] = train(model, batches(), steps=1, lr=1e-2)
    assert all(module.training for module in model.modules())


def test_validation_and_best_checkpoint(tiny, batches, tmp_path):
    """A model that unlearns: the best checkpoint is the one from before it got worse."""
    model, validation = tiny(), list(islice(batches(seed=7), 3))
    found = run(
        model, batches(), validation=validation, evaluate_every=2, folder=tmp_path, steps=7,
        lr=lambda step: 1e-2 if step <= 4 else 1.0,
    )  # fmt: skip
    losses = {step.step: step.validation_loss for step in found if step.validation_loss is not None}
    assert list(losses) == [2, 4, 6, 7] and min(losses, key=losses.get) == 4
    assert losses[7] == evaluate(model, validation)
    other = tiny(seed=9)
    assert load_checkpoint(tmp_path / "best", other)["best"] == losses[4] == evaluate(other, validation)
    assert load_checkpoint(tmp_path / "last", other) == {
        "step": 7,
        "data": batches().state() | {"position": 7},
        "best": losses[4],
    }
    assert evaluate(other, validation) == losses[7]


def test_best_survives_a_resume(tiny, batches, tmp_path):
    validation = list(islice(batches(seed=7), 3))
    options = {"validation": validation, "evaluate_every": 2, "folder": tmp_path}
    run(tiny(), batches(), steps=4, lr=1e-2, **options)
    best = (tmp_path / "best" / "model.safetensors").read_bytes()
    run(tiny(seed=3), batches(), steps=6, lr=1.0, resume=True, **options)
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == best


def test_ten_steps_are_five_and_five_more_to_the_bit(tiny, batches, same, tmp_path):
    whole, first, second = tiny(dropout=0.2), tiny(dropout=0.2), tiny(dropout=0.2, seed=8)
    masked = {"objective": partial(masked_lm, vocab_size=VOCAB, mask_id=0)}
    torch.manual_seed(4)
    expected = run(whole, batches(**masked), accumulate=2)
    torch.manual_seed(4)
    found = run(first, batches(**masked), accumulate=2, steps=5, folder=tmp_path)
    torch.manual_seed(99)
    found += run(second, batches(seed=99, **masked), accumulate=2, folder=tmp_path, resume=True)
    assert found == expected and same(whole, second)
    assert run(tiny(), batches(**masked), folder=tmp_path, resume=True) == []


def test_resume_without_a_checkpoint_starts_at_the_beginning(tiny, batches, tmp_path):
    assert [s.step for s in run(tiny(), batches(), steps=2, folder=tmp_path, resume=True)] == [1, 2]


def bad_from(step, calls=None):
    calls = calls or iter(range(1, 1000))

    def loss_fn(model, inputs, targets):
        return loss(model(inputs), targets) * (math.nan if next(calls) >= step else 1.0)

    return loss_fn


def test_a_loss_that_is_not_finite_stops_before_the_update(tiny, batches, same):
    model, other = tiny(), tiny()
    run(other, batches(), steps=6)
    found = []
    with pytest.raises(FloatingPointError, match="loss is nan, grad_norm nan at step 7, which was not done$"):
        for step in train(model, batches(), steps=10, lr=schedule, loss_fn=bad_from(7)):
            found.append(step)  # noqa: PERF402
    assert len(found) == 6 and same(model, other)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_loss_that_is_infinite_stops_even_where_the_gradient_is_not(tiny, batches):
    def loss_fn(model, inputs, targets):
        return loss(model(inputs), targets) + math.inf

    with pytest.raises(FloatingPointError, match=r"loss is inf, grad_norm \d\.\d+ at step 1,"):
        run(tiny(), batches(), loss_fn=loss_fn)


def test_a_step_without_a_target_changes_little_and_can_be_saved(tiny, batches, tmp_path):
    """As a small batch under MLM may have it."""

    def objective(tokens, *, generator):
        return tokens, torch.full_like(tokens, IGNORE)

    [step] = run(tiny(), batches(objective=objective), steps=1, folder=tmp_path)
    assert (step.loss, step.grad_norm, step.tokens) == (0, 0, 0)
    uneven = [(torch.ones(1, 4, dtype=torch.long), torch.full((1, 4), target)) for target in (3, IGNORE)]
    [step] = run(tiny(), uneven, steps=1, accumulate=2)
    assert step.tokens == 4 and step.loss > 1


def test_a_gradient_that_is_not_finite_stops_too(tiny, batches):
    class Root(torch.autograd.Function):
        forward = staticmethod(lambda ctx, x: x)
        backward = staticmethod(lambda ctx, gradient: gradient * math.inf)

    def loss_fn(model, inputs, targets):
        return Root.apply(loss(model(inputs), targets))

    with pytest.raises(FloatingPointError, match=r"loss is 3\.\d+, grad_norm (inf|nan) at step 1,"):
        run(tiny(), batches(), loss_fn=loss_fn)


def test_the_last_good_state_stays_when_the_loss_breaks(tiny, batches, same, tmp_path):
    with pytest.raises(FloatingPointError, match=rf"at step 8, .*; the checkpoint before it stands in {tmp_path}/last"):
        # one more call of the loss at each checkpoint, to see that it is good: steps 3 and 6
        run(tiny(), batches(), loss_fn=bad_from(10), folder=tmp_path, save_every=3)
    model, source = tiny(seed=5), batches()
    found = run(model, source, folder=tmp_path, resume=True)
    expected = tiny()
    run(expected, batches())
    assert found[0].step == 7 and same(model, expected)


def test_an_update_that_breaks_the_model_is_not_saved(tiny, batches, tmp_path):
    with pytest.raises(FloatingPointError, match="loss after the update is nan at step 5, .*stands in"):
        run(tiny(), batches(), lr=lambda step: 1e-3 if step < 5 else 1e38, folder=tmp_path, save_every=1)
    model = tiny()
    assert load_checkpoint(tmp_path / "last", model)["step"] == 4
    assert math.isfinite(evaluate(model, [next(batches())]))


def test_autocast_computes_in_bfloat16_and_keeps_the_weights(tiny, batches):
    seen = []

    def loss_fn(model, inputs, targets):
        logits = model(inputs)
        seen.append(logits.dtype)
        return loss(logits, targets)

    model, other = tiny(), tiny()
    found = run(model, batches(), loss_fn=loss_fn, autocast=True)
    expected = run(other, batches())
    assert set(seen) == {torch.bfloat16} and {p.dtype for p in model.parameters()} == {torch.float32}
    assert [s.loss for s in found] == pytest.approx([s.loss for s in expected], abs=0.02)
    assert found != expected


def test_compiled_trains_the_same_model(tiny, batches, monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    model, other = tiny(), tiny()
    options = {"validation": [next(batches(seed=3))], "evaluate_every": 2, "folder": tmp_path}
    found = run(model, batches(), compile=True, **options)
    expected = run(other, batches(), **(options | {"folder": None}))
    assert [s.loss for s in found] == pytest.approx([s.loss for s in expected], abs=1e-6)
    assert load_checkpoint(tmp_path / "last", other)["step"] == 10  # names of weights are the model's own


def test_the_caller_may_use_the_model_between_steps(tiny, batches, same):
    model, other = tiny(dropout=0.3), tiny(dropout=0.3)
    torch.manual_seed(0)
    for _ in train(model, batches(), steps=4, lr=1e-2):
        model.eval()  # to sample from it
    torch.manual_seed(0)
    run(other, batches(), steps=4, lr=1e-2)
    assert same(model, other)


def test_any_module_and_any_batches():
    line = torch.nn.Linear(2, 1)
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    data = [({"x": x}, x @ torch.tensor([[2.0], [-1.0]]) + 0.5)] * 200

    def loss_fn(model, inputs, targets):
        return F.mse_loss(model(inputs["x"]), targets)

    optimizer = torch.optim.SGD(line.parameters(), lr=0.0)
    found = run(line, data, steps=200, lr=0.1, loss_fn=loss_fn, clip=math.inf, optimizer=optimizer)
    assert found[-1].loss < 1e-6 and found[-1].tokens == 64
    torch.testing.assert_close(line.weight.detach(), torch.tensor([[2.0, -1.0]]), atol=1e-3, rtol=0)
