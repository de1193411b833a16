"""Checkpoints: all that they hold comes back, half-written ones do not count, and bad files are named."""

import json
import os
import random
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmbook.pretraining import adamw, load_checkpoint, loss, save_checkpoint


@pytest.fixture
def trained(tiny, batches):
    """A model and an optimizer after one step."""

    def make(seed=0, **options):
        model = tiny(seed, **options)
        optimizer = adamw(model)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2
        inputs, targets = next(batches())
        loss(model(inputs), targets).backward()
        optimizer.step()
        return model, optimizer

    return make


@pytest.mark.parametrize("tied", [True, False])
def test_everything_comes_back(tiny, trained, same, tmp_path, tied):
    model, optimizer = trained(tie_embeddings=tied)
    torch.manual_seed(7)
    data = {"seed": 3, "position": 4}
    save_checkpoint(tmp_path / "a", model, optimizer=optimizer, step=5, data=data, best=0.1 + 0.2)
    draw = torch.rand(3)
    other = tiny(1, tie_embeddings=tied)
    moments = adamw(other, weight_decay=0.3)
    facts = load_checkpoint(tmp_path / "a", other, optimizer=moments, random_state=True)
    assert facts == {"step": 5, "data": data, "best": 0.1 + 0.2} and torch.rand(3).equal(draw)
    assert same(model, other) and (other.embed.weight is other.unembed.weight) == tied
    saved, found = optimizer.state_dict()["state"], moments.state_dict()["state"]
    assert saved.keys() == found.keys() and len(found) == len(list(model.parameters()))
    for number, state in saved.items():
        assert state.keys() == found[number].keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(value.equal(found[number][key]) for key, value in state.items())
    assert moments.param_groups[0]["weight_decay"] == 0.3  # its own
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a"]


def test_files_are_plain(trained, tmp_path):
    model, optimizer = trained()
    save_checkpoint(tmp_path / "a", model, optimizer=optimizer)
    assert {file.name for file in (tmp_path / "a").iterdir()} == {
        "model.safetensors", "training.safetensors", "config.json", "training.json",
    }  # fmt: skip
    weights = load_file(tmp_path / "a" / "model.safetensors")
    assert weights.keys() == dict(model.named_parameters()).keys()
    assert json.loads((tmp_path / "a" / "config.json").read_text())["d_model"] == 8


def test_the_random_state_stays_unless_asked_for(tiny, trained, tmp_path):
    model, _ = trained()
    save_checkpoint(tmp_path / "a", model)
    before = torch.get_rng_state()
    torch.rand(1)
    after = torch.get_rng_state()
    load_checkpoint(tmp_path / "a", model)
    assert torch.get_rng_state().equal(after) and not after.equal(before)


def test_other_optimizers_and_buffers(same, tmp_path):
    def make(seed):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.LSTM(4, 2))
        return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    model, optimizer = make(0)
    model(torch.randn(8, 3))[0].sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "a", model, optimizer=optimizer)
    other, moments = make(1)
    load_checkpoint(tmp_path / "a", other, optimizer=moments)
    assert same(model, other) and other[1].running_mean.equal(model[1].running_mean)
    for one, two in zip(optimizer.state.values(), moments.state.values(), strict=True):
        assert one["momentum_buffer"].equal(two["momentum_buffer"])
    with pytest.raises(ValueError, match="holds the state of SGD, not of AdamW"):
        load_checkpoint(tmp_path / "a", other, optimizer=adamw(other))


# ---- whole or not at all


def files_of(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def in_a_child(call, *, dies_at=None):
    """Run a call in a process of its own; it dies by SIGKILL at that number of file operations. Returns the signal."""
    child = os.fork()
    if child == 0:
        count = 0

        def watch(function):
            def watched(*args, **kwargs):
                nonlocal count
                count += 1
                if count == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return watched

        try:
            for name in ("open", "close", "fsync", "rename", "mkdir", "rmdir", "unlink", "scandir"):
                setattr(os, name, watch(getattr(os, name)))
            call()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def test_a_kill_at_any_file_operation_leaves_the_old_or_the_new_checkpoint(tiny, tmp_path):
    """The process dies before every single operation on files in turn; then another one goes on."""
    old, new, later, read = tiny(1), tiny(2), tiny(3), tiny(4)
    path = tmp_path / "run" / "last"
    found = []
    for dies_at in range(1, 100):
        shutil.rmtree(path.parent, ignore_errors=True)
        save_checkpoint(path, old, step=1)
        killed = in_a_child(lambda: save_checkpoint(path, new, step=2), dies_at=dies_at)
        found.append(load_checkpoint(path, read)["step"])
        expected = {1: old, 2: new}[found[-1]]
        assert all(a.equal(b) for a, b in zip(read.parameters(), expected.parameters(), strict=True))
        save_checkpoint(path, later, step=3)
        assert load_checkpoint(path, read)["step"] == 3 and [file.name for file in path.parent.iterdir()] == ["last"]
        if not killed:
            break
        assert killed == signal.SIGKILL
    assert not killed and len(found) >= 20 and found == sorted(found) and set(found) == {1, 2}


@pytest.mark.parametrize("n", range(3))
def test_a_part_of_any_length_does_not_count(tiny, tmp_path, n):
    """As a power cut may leave it: every file of the unfinished folder cut somewhere."""
    model, read = tiny(1), tiny(2)
    save_checkpoint(tmp_path / "last", model, step=1)
    shutil.copytree(tmp_path / "last", tmp_path / "last.part")
    for file in (tmp_path / "last.part").iterdir():
        os.truncate(file, random.Random(n).randrange(file.stat().st_size))
    assert load_checkpoint(tmp_path / "last", read)["step"] == 1
    save_checkpoint(tmp_path / "last", model, step=2)
    assert load_checkpoint(tmp_path / "last", read)["step"] == 2


def test_a_failed_write_leaves_the_old_one(tiny, tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "last", tiny(1), step=1)
    before = files_of(tmp_path / "last")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path / "last", tiny(2), step=2)
    assert files_of(tmp_path / "last") == before


def test_files_are_on_the_disk_before_they_get_their_name(tiny, tmp_path, monkeypatch):
    calls = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(handle):
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def noted_rename(one, other):
        calls.append((os.path.basename(one), os.path.basename(other)))
        rename(one, other)

    save_checkpoint(tmp_path / "last", tiny(1))
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    save_checkpoint(tmp_path / "last", tiny(1))
    files = {"model.safetensors", "training.safetensors", "config.json", "training.json"}
    assert set(calls[:4]) == files
    assert calls[4:] == ["last.part", ("last", "last.previous"), ("last.part", "last"), tmp_path.name]


# ---- bad files


FILES = ["model.safetensors", "training.safetensors", "training.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "one byte short", "noise", "pickle"])
def test_a_damaged_file_is_named_and_nothing_is_loaded(tiny, trained, tmp_path, name, damage):
    model, optimizer = trained()
    save_checkpoint(tmp_path / "a", model, optimizer=optimizer)
    file = tmp_path / "a" / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "pickle":
        torch.save({"a": torch.zeros(1)}, file)
    else:
        file.write_bytes({"empty": b"", "half": content[: len(content) // 2], "one byte short": content[:-1],
                          "noise": os.urandom(len(content))}[damage])  # fmt: skip
    other = tiny(3)
    before, state = [p.detach().clone() for p in other.parameters()], torch.get_rng_state()
    with pytest.raises(ValueError, match=rf"{file} is missing, truncated or not"):
        load_checkpoint(tmp_path / "a", other, optimizer=adamw(other), random_state=True)
    assert all(a.equal(b) for a, b in zip(before, other.parameters(), strict=True))
    assert torch.get_rng_state().equal(state)


def edit(change):
    def call(file):
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)

    return call


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("model", lambda t: t.pop("norm.weight"), r"does not fit the model: missing \['norm.weight'\], unknown \[\]"),
        ("model", lambda t: t.update(more=torch.zeros(1)), r"missing \[\], unknown \['more'\]"),
        ("model", lambda t: t.update({"norm.bias": torch.zeros(9)}), r"norm.bias is \(9,\) torch.float32, not \(8,\)"),
        (
            "model",
            lambda t: t.update({"norm.bias": torch.zeros(8).double()}),
            r"norm.bias is \(8,\) torch.float64, not",
        ),
        (
            "training",
            lambda t: [t.pop(n) for n in list(t) if "norm.bias" in n],
            "has no optimizer state for .*norm.bias",
        ),
        (
            "training",
            lambda t: t.update({"optimizer.norm.bias.exp_avg": torch.zeros(9)}),
            r"exp_avg of norm.bias is \(9,\), not \(8,\)",
        ),
    ],
)
def test_files_that_do_not_fit_are_named(tiny, trained, tmp_path, name, change, message):
    model, optimizer = trained()
    save_checkpoint(tmp_path / "a", model, optimizer=optimizer)
    file = tmp_path / "a" / f"{name}.safetensors"
    edit(change)(file)
    other = tiny(3)
    before = [p.detach().clone() for p in other.parameters()]
    with pytest.raises(ValueError, match=f"{file}.*{message}"):
        load_checkpoint(tmp_path / "a", other, optimizer=adamw(other))
    assert all(a.equal(b) for a, b in zip(before, other.parameters(), strict=True))


@pytest.mark.parametrize("text, message", [("[]", "must hold a JSON object"), ("{}", "is not that of a checkpoint")])
def test_other_json_is_refused(tiny, tmp_path, text, message):
    save_checkpoint(tmp_path / "a", tiny())
    (tmp_path / "a" / "training.json").write_text(text)
    with pytest.raises(ValueError, match=f"training.json.*{message}"):
        load_checkpoint(tmp_path / "a", tiny())


def test_a_model_with_nan_is_not_saved(tiny, tmp_path):
    model = tiny()
    save_checkpoint(tmp_path / "a", model, step=1)
    with torch.no_grad():
        model.norm.weight[2] = float("nan")
    with pytest.raises(ValueError, match="model must be finite to be saved, but norm.weight is not, at step 2"):
        save_checkpoint(tmp_path / "a", model, step=2)
    assert load_checkpoint(tmp_path / "a", tiny())["step"] == 1


def test_no_module_unpickles():
    """Between processes torch pickles what they send each other; files are another matter."""
    from pathlib import Path

    import lmbook.pretraining

    source = "".join(file.read_text() for file in Path(lmbook.pretraining.__file__).parent.glob("*.py"))
    assert not any(word in source for word in ("torch.load", "torch.save", "import pickle", "np.load"))
