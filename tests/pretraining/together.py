"""Training that test_distributed.py starts with torchrun in two processes, and calls itself in one.

torchrun --nproc-per-node 2 together.py FOLDER
"""

import json
import sys
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from lmbook.pretraining import Batches, distribute, masked_lm, rank_and_size, start, train
from lmbook.transformer import GPT, GPTConfig

OBJECTIVES = {"causal": {}, "masked": {"objective": partial(masked_lm, vocab_size=23, mask_id=0)}}


def run(folder, strategy, objective, *, steps, dropout=0.0):
    """Train up to a step, from the checkpoint in the folder if there is one."""
    rank, size = rank_and_size()
    torch.manual_seed(rank)  # each process with weights of its own, which must not matter, and dropout of its own
    # no biases: the gradient of the keys' is zero but for rounding, which Adam would make as large as any other
    sizes = {"vocab_size": 23, "max_len": 16, "d_model": 16, "n_layers": 2, "n_heads": 2, "bias": False}
    model = distribute(GPT(GPTConfig(**sizes, dropout=dropout)), strategy or "ddp")
    text = torch.randint(1, 23, (600,), generator=torch.Generator().manual_seed(5))
    source = partial(Batches, text, length=9, rank=rank, world_size=size, **OBJECTIVES[objective])
    validation = [next(source(batch_size=6, seed=1))]
    records = train(
        model, source(batch_size=4), steps=steps, lr=1e-2, accumulate=2, clip=0.3, validation=validation,
        evaluate_every=1, folder=folder, resume=True,
    )  # fmt: skip
    return [[step.loss, step.grad_norm, step.validation_loss, step.tokens] for step in records]


def main(folder):
    start()
    results = {}
    for strategy in ("ddp", "fsdp"):
        for objective in OBJECTIVES:
            results[f"{strategy} {objective}"] = run(folder / f"{strategy}-{objective}", strategy, objective, steps=3)
            results[f"one to {strategy} {objective}"] = run(
                folder / f"one-{objective}-{strategy}", strategy, objective, steps=6
            )
        whole = run(folder / f"{strategy}-whole", strategy, "masked", steps=6, dropout=0.2)
        parts = [run(folder / f"{strategy}-parts", strategy, "masked", steps=steps, dropout=0.2) for steps in (3, 6)]
        results[f"{strategy} resumes"] = [whole, parts[0] + parts[1]]
    if rank_and_size()[0] == 0:
        (folder / "results.json").write_text(json.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
