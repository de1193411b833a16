"""Trains a tiny model in child processes that are killed, and compares what is left with a run that was not.

    python killed.py run FOLDER [STEP]     train 10 steps, or what is left of them, and say each step; wait after STEP
    python killed.py many FOLDER SEED N    kill N runs at random moments, and 8 inside the writing of a checkpoint

The second prints one line of JSON. It forks, and never trains itself, so that its children start in a good state.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file

from lmbook.pretraining import Batches, masked_lm, train, warmup_cosine
from lmbook.transformer import GPT, GPTConfig


def training(folder, steps=10):
    """A run in which all that must come back matters: moments, schedule, order and masks of the data, dropout."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=23, max_len=16, d_model=8, n_layers=1, n_heads=2, dropout=0.2))
    text = torch.randint(1, 23, (200,), generator=torch.Generator().manual_seed(5))  # five batches are an epoch
    objective = partial(masked_lm, vocab_size=23, mask_id=0)
    batches = Batches(text, batch_size=4, length=9, objective=objective)
    return train(
        model, batches, steps=steps, lr=partial(warmup_cosine, warmup=3, total=10, peak=1e-2), accumulate=2,
        validation=[next(Batches(text, batch_size=4, length=9, objective=objective, seed=1))], evaluate_every=3,
        folder=folder, save_every=1, resume=True,
    )  # fmt: skip


def in_a_child(folder, *, before=lambda: None, kill_after=None):
    """Train in a child, which the parent kills so many steps (and a part of one) after its start, if it says so."""
    ready, say = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before()
            for _ in training(folder):
                os.write(say, b".")
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(say)
    if kill_after is not None:
        steps, rest = kill_after
        start = time.perf_counter()
        for _ in range(steps):
            os.read(ready, 1)
        time.sleep(rest * (time.perf_counter() - start) / max(steps, 1) if steps else 0.1 * rest)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(ready)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a training run failed")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def count_calls(stop_at, say):
    """Kill this process at that number of function calls inside the writing of checkpoints."""
    depth = count = 0

    def watch(frame, event, argument):
        nonlocal depth, count
        writing = event in ("call", "return") and frame.f_code.co_name == "save_checkpoint"
        depth += writing * (1 if event == "call" else -1)
        if depth and event in ("call", "c_call"):
            count += 1
            if count == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if stop_at is None and writing:
                Path(say).write_text(str(count))

    sys.setprofile(watch)


def state(folder):
    """All that the last checkpoint and the best one hold."""
    files = [folder / name / file for name in ("last", "best") for file in ("model.safetensors", "training.json")]
    tensors = {
        f"{path.name} {name}": tensor
        for path in (folder / "last", folder / "best")
        for file in ("model.safetensors", "training.safetensors")
        if path.name == "last" or file.startswith("model")
        for name, tensor in load_file(path / file).items()
    }
    return tensors, [file.read_text() for file in files if file.suffix == ".json"]


def many(folder, seed, n):
    import torch._dynamo  # noqa: F401  the first step would import it, in every child anew

    choose = random.Random(seed)
    whole = folder / "whole"
    in_a_child(whole)
    expected, facts = state(whole)
    in_a_child(folder / "counted", before=lambda: count_calls(None, folder / "calls"))
    calls = int((folder / "calls").read_text())
    plans = [{"kill_after": (choose.randrange(9), choose.random())} for _ in range(n)]
    plans += [{"before": partial(count_calls, at, None), "at": at} for at in sorted(choose.sample(range(1, calls), 8))]
    results = []
    for number, plan in enumerate(plans):
        path = folder / str(number)
        kind = plan.pop("at", None)
        signals = [in_a_child(path, **plan)]
        last = path / "last" / "training.json"
        stood = json.loads(last.read_text())["step"] if last.exists() else 0
        signals.append(in_a_child(path))
        found, found_facts = state(path)
        same = found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
        left = sorted(file.name for file in path.iterdir())
        results.append(
            {"at": kind, "signals": signals, "stood": stood, "left": left, "same": same and facts == found_facts}
        )
        shutil.rmtree(path)
    print(json.dumps(results))


if __name__ == "__main__":
    if sys.argv[1] == "run":
        for step in training(Path(sys.argv[2])):
            print(step.step, flush=True)
            if sys.argv[3:] == [str(step.step)]:
                time.sleep(60)
    else:
        many(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
