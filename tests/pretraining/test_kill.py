"""Runs that die by kill -9 and go on: the same weights, moments, data order and random states, to the bit."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

SCRIPT = [sys.executable, str(Path(__file__).with_name("killed.py"))]


def test_five_steps_a_kill_and_five_more(tmp_path):
    """One process with its own interpreter, killed from outside after its fifth step, and another one."""
    done = subprocess.run([*SCRIPT, "run", tmp_path / "whole"], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == [str(step) for step in range(1, 11)]
    with subprocess.Popen([*SCRIPT, "run", tmp_path / "killed", "5"], stdout=subprocess.PIPE, text=True) as process:
        while process.stdout.readline() != "5\n":
            assert process.poll() is None
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(
        [*SCRIPT, "run", tmp_path / "killed"], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == [str(step) for step in range(6, 11)]
    for file in ("model.safetensors", "training.safetensors"):
        expected, found = (load_file(tmp_path / run / "last" / file) for run in ("whole", "killed"))
        assert expected.keys() == found.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_twenty_random_moments_and_eight_inside_a_checkpoint(tmp_path):
    done = subprocess.run([*SCRIPT, "many", tmp_path, "0", "20"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) == 28 and all(run["same"] and run["left"] == ["best", "last"] for run in results)
    assert all(run["signals"][1] == 0 for run in results)
    assert all(run["signals"][0] == signal.SIGKILL for run in results[20:])
    # on a busy machine a run may end before its time comes
    assert sum(run["signals"][0] == signal.SIGKILL for run in results[:20]) >= 15
    assert len({run["stood"] for run in results}) >= 4
