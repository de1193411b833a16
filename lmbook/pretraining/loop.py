"""The training loop: a generator that yields a record of each step, so that the caller's loop is an ordinary one."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from lmbook._checks import check_above_zero, check_positive
from lmbook.pretraining.batches import map_tensors
from lmbook.pretraining.checkpoint import load_checkpoint, save_checkpoint, standing
from lmbook.pretraining.distributed import exchange_gradients, global_sum, rank_and_size, whole
from lmbook.pretraining.objectives import IGNORE, loss
from lmbook.pretraining.schedule import weight_decay_groups


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of `train`.

    Args:
        step: number of the step, from 1.
        loss: mean over the targets of the step, before its update.
        lr: learning rate of the update.
        grad_norm: length of the whole gradient before clipping.
        tokens: targets in the step, over all micro-batches and processes.
        validation_loss: mean over the validation batches after the update, where they were due.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    validation_loss: float | None = None


def model_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The `loss` of a model that maps inputs to logits; what `train` uses unless it is given another one."""
    return loss(model(inputs), targets)


def adamw(
    model: nn.Module, *, weight_decay: float = 0.1, betas: tuple[float, float] = (0.9, 0.95)
) -> torch.optim.AdamW:
    """AdamW over `weight_decay_groups`, in one fused kernel where the device has one.

    Source: Loshchilov and Hutter 2019, algorithm 2; the betas of Brown et al. 2020 (GPT-3), appendix B.
    Book: pretraining.
    """
    groups = weight_decay_groups(model, weight_decay)
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=fused)


def train(
    model: nn.Module,
    batches: Iterable,
    *,
    steps: int,
    lr: float | Callable[[int], float],
    loss_fn: Callable[..., Tensor] = model_loss,
    optimizer: torch.optim.Optimizer | None = None,
    accumulate: int = 1,
    clip: float = 1.0,
    autocast: bool = False,
    compile: bool = False,
    validation: Iterable | None = None,
    evaluate_every: int | None = None,
    folder: str | os.PathLike | None = None,
    save_every: int | None = None,
    resume: bool = False,
) -> Iterator[Step]:
    """Train a model in place, and yield each step as it is done.

    In a model that comes in training mode, parts in eval mode stay so; one in eval mode
    is put into training mode as a whole.

    With a folder, `last` in it holds the whole state of the run, `best` the weights of the least validation loss. A run
    that is called again with resume=True after a crash ends with the same weights, to the bit, as one without a crash;
    a caller that draws from torch's global generator between the steps must do the same again.

    Args:
        batches: yields (inputs, targets), as `Batches` does; with a folder it must have its state and load_state.
        steps: number of the last step, counted from 1 over all runs.
        lr: learning rate, or a function from the number of the step to it.
        loss_fn: called as ``loss_fn(model, inputs, targets)``, gives a mean over the targets that are not IGNORE.
        optimizer: `adamw` unless given.
        accumulate: batches in a step. Each counts by its number of targets, so that the step is that of one big batch.
        clip: longest gradient; math.inf for any.
        autocast: compute in bfloat16 where that is safe; the weights keep their type.
        validation: batches to evaluate, every evaluate_every steps and after the last one. A list, not an iterator.
        save_every: steps between two checkpoints; there is always one after the last step.
        resume: go on from the checkpoint in the folder, if there is one.

    Raises:
        FloatingPointError: the loss or the gradient is not finite. The message names the step; the model keeps the
            weights from before it, and the folder its last checkpoint, from which the loss was finite.

    Book: pretraining.
    """
    _check(model, batches, steps, accumulate, clip, validation, evaluate_every, folder, save_every, resume)
    optimizer = adamw(model) if optimizer is None else optimizer
    device, source = next(model.parameters()).device, iter(batches)
    last, best, world = (folder and Path(folder) / "last"), math.inf, rank_and_size()[1]
    done = 0
    if last and _stands(last):
        facts = load_checkpoint(last, model, optimizer=optimizer, random_state=True)
        batches.load_state(facts["data"])
        done, best = facts["step"], math.inf if facts["best"] is None else facts["best"]
    forward = torch.compile(model) if compile else model
    precision = partial(torch.autocast, device.type, dtype=torch.bfloat16, enabled=autocast)
    save = partial(save_checkpoint, model=model)
    modes = _modes(model if model.training else model.train())

    for step in range(done + 1, steps + 1):
        rate = float(lr(step) if callable(lr) else lr)
        if not 0 <= rate < math.inf:
            raise ValueError(f"lr must be finite and at least 0, got {rate} at step {step}")
        _set_modes(modes)  # the caller may have called eval() since
        parts = [_next(source, step) for _ in range(accumulate)]
        counts = [_count(targets) for _, targets in parts]
        tokens = int(global_sum(sum(counts), device))
        value = 0.0
        for number, ((inputs, targets), count) in enumerate(zip(parts, counts, strict=True), start=1):
            exchange_gradients(model, now=number == accumulate)
            with precision():
                part = loss_fn(forward, _to(inputs, device), _to(targets, device)) * (count / max(tokens, 1))
            (part * world).backward()  # the processes' gradients are averaged, and are to be added
            value += part.detach()
        value = global_sum(value.item(), device)
        grad_norm = whole(nn.utils.clip_grad_norm_(model.parameters(), clip)).item()
        if not math.isfinite(value) or not math.isfinite(grad_norm):
            optimizer.zero_grad()
            raise FloatingPointError(_not_finite(f"loss is {value}, grad_norm {grad_norm}", step, last))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()

        validation_loss = None
        if validation is not None and (step == steps or evaluate_every and step % evaluate_every == 0):
            validation_loss = evaluate(forward, validation, loss_fn=loss_fn, autocast=autocast)
            if validation_loss < best:
                best = validation_loss
                if folder:
                    save(Path(folder) / "best", step=step, best=best)
        if last and (step == steps or save_every and step % save_every == 0):
            fullest = parts[counts.index(max(counts))]
            after = evaluate(forward, [fullest], loss_fn=loss_fn, autocast=autocast) if tokens else 0.0
            if not math.isfinite(after):
                raise FloatingPointError(_not_finite(f"loss after the update is {after}", step, last))
            known = best if math.isfinite(best) else None
            save(last, optimizer=optimizer, step=step, data=batches.state(), best=known)
        facts = {"lr": rate, "grad_norm": grad_norm, "tokens": tokens}
        yield Step(step=step, loss=value, validation_loss=validation_loss, **facts)


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable, *, loss_fn: Callable[..., Tensor] = model_loss, autocast: bool = False
) -> float:
    """Mean loss over all targets of some batches, without dropout.

    Torch's random state and the model stay as they are: its weights, gradients and the
    mode of each of its parts. Book: pretraining.
    """
    device, modes = next(model.parameters()).device, _modes(model)
    total, tokens = 0.0, 0
    model.eval()
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast),
        ):
            for inputs, targets in batches:
                count = _count(targets)
                total += loss_fn(model, _to(inputs, device), _to(targets, device)).item() * count
                tokens += count
    finally:
        _set_modes(modes)
    if not (tokens := global_sum(tokens, device)):
        raise ValueError("batches must hold at least one target, got none")
    return global_sum(total, device) / tokens


def _modes(model: nn.Module) -> dict[nn.Module, bool]:
    return {module: module.training for module in model.modules()}


def _set_modes(modes: dict[nn.Module, bool]) -> None:
    for module, training in modes.items():
        module.training = training


def _count(targets) -> int:
    """Targets that are not IGNORE, in a tensor or in several."""
    counts: list[int] = []
    map_tensors(lambda tensor: counts.append(int((tensor != IGNORE).sum())), targets)
    return sum(counts)


def _to(batch, device: torch.device):
    return map_tensors(lambda tensor: tensor.to(device), batch)


def _next(source: Iterator, step: int) -> tuple | list:
    batch = next(source, None)
    if batch is None:
        raise ValueError(f"batches must last for all steps, but ran out in step {step}")
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(f"batches must yield (inputs, targets), got {type(batch).__name__} in step {step}")
    return batch


def _stands(folder: Path) -> bool:
    try:
        return standing(folder).is_dir()
    except ValueError:
        return False


def _not_finite(what: str, step: int, last: Path | None) -> str:
    kept = f"; the checkpoint before it stands in {standing(last)}" if last and _stands(last) else ""
    return f"{what} at step {step}, which was not done{kept}"


def _check(model, batches, steps, accumulate, clip, validation, evaluate_every, folder, save_every, resume) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module, got {type(model).__name__}")
    check_positive(steps=steps, accumulate=accumulate)
    check_above_zero(clip=clip)
    for name, every in (("evaluate_every", evaluate_every), ("save_every", save_every)):
        if every is not None:
            check_positive(**{name: every})
    if evaluate_every is not None and validation is None:
        raise ValueError(f"validation must be given for evaluate_every={evaluate_every}")
    if isinstance(validation, Iterator):
        raise TypeError("validation must be a list of batches, got an iterator, which ends after its first use")
    if folder is None and (save_every is not None or resume):
        raise ValueError("folder must be given to save checkpoints or to resume from one")
    if folder is not None and not (hasattr(batches, "state") and hasattr(batches, "load_state")):
        raise TypeError(f"batches must have state() and load_state() to be resumed, got {type(batches).__name__}")
    if folder is not None and not resume and _stands(Path(folder) / "last"):
        raise ValueError(f"folder holds a run, {Path(folder) / 'last'}: pass resume=True, or name another folder")
