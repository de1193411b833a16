"""Two gloo processes on the CPU against one: the same losses, and checkpoints that move between them."""

import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lmbook.pretraining import distribute, rank_and_size

SCRIPT = Path(__file__).with_name("together.py")
OBJECTIVES, STRATEGIES = ("causal", "masked"), ("ddp", "fsdp")
run = runpy.run_path(str(SCRIPT))["run"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses of six steps in one process, and the folder of a run that stopped after three."""
    folder = tmp_path_factory.mktemp("alone")
    losses = {}
    for objective in OBJECTIVES:
        losses[objective] = run(folder / objective, None, objective, steps=6)
        run(folder / f"{objective}-3", None, objective, steps=3)
    return losses, folder


@pytest.fixture(scope="module")
def together(alone, tmp_path_factory):
    """What two processes found, and their folders."""
    folder = tmp_path_factory.mktemp("together")
    for objective in OBJECTIVES:
        for strategy in STRATEGIES:
            shutil.copytree(alone[1] / f"{objective}-3", folder / f"one-{objective}-{strategy}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    done = subprocess.run(
        [*command, "--master-port", port, str(SCRIPT), str(folder)],
        capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "results.json").read_text()), folder


def near(found, expected):
    """Whether two lists of (loss, grad_norm, validation_loss, tokens) agree."""
    assert len(found) == len(expected) == 3 and [row[3] for row in found] == [row[3] for row in expected]
    return torch.allclose(torch.tensor(found), torch.tensor(expected), rtol=0, atol=1e-5)


def near_weights(one, other):
    one, other = (load_file(folder / "last" / "model.safetensors") for folder in (one, other))
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], rtol=0, atol=1e-5) for name in one)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("strategy", STRATEGIES)
class TestTwoProcesses:
    def test_have_the_losses_of_one(self, alone, together, strategy, objective):
        assert near(together[0][f"{strategy} {objective}"], alone[0][objective][:3])
        assert near_weights(together[1] / f"{strategy}-{objective}", alone[1] / f"{objective}-3")

    def test_go_on_from_the_checkpoint_of_one(self, alone, together, strategy, objective):
        assert near(together[0][f"one to {strategy} {objective}"], alone[0][objective][3:])
        assert near_weights(together[1] / f"one-{objective}-{strategy}", alone[1] / objective)

    def test_leave_a_checkpoint_from_which_one_goes_on(self, alone, together, strategy, objective, tmp_path):
        shutil.copytree(together[1] / f"{strategy}-{objective}", tmp_path / "run")
        assert near(run(tmp_path / "run", None, objective, steps=6), alone[0][objective][3:])
        assert near_weights(tmp_path / "run", alone[1] / objective)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_resume_to_the_bit(together, strategy):
    """With dropout, so that the random state of each process must come back."""
    whole, parts = together[0][f"{strategy} resumes"]
    assert whole == parts and len(whole) == 6
    one, two = (
        load_file(together[1] / f"{strategy}-{run}" / "last" / "training.safetensors") for run in ("whole", "parts")
    )
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert not one["random.cpu.0"].equal(one["random.cpu.1"])


def test_one_process_stays_alone(tiny):
    model = tiny()
    assert rank_and_size() == (0, 1) and distribute(model, "fsdp") is model
