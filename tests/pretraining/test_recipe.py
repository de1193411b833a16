"""Recipes: the weights that a loop by hand gives, made once, shared, and finished after a crash."""

import dataclasses
import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from lmbook.pretraining import SHAKESPEARE, Batches, Recipe, Run, adamw, cache_folder, recipe, trained
from lmbook.pretraining import train as train_loop
from lmbook.pretraining.schedule import warmup_cosine
from lmbook.text.documents import Document
from lmbook.transformer import GPT, GPTConfig

MODEL = GPTConfig(vocab_size=270, max_len=8, d_model=16, n_layers=1, n_heads=2, positions="rotary", dropout=0.1)
SMALL = Recipe(corpus="shakespeare", n_held_out=1, model=MODEL, steps=25, batch_size=2, lr=1e-2, warmup=3, limit=3)
TEXTS = ["to be or not to be " * 40, "that is the question " * 40, "whether 'tis nobler " * 20]
# For another process, which has no fixtures: run the small recipe in a folder.
ALONE = f"""
import sys
from lmbook.pretraining import Recipe, recipe, trained
from lmbook.text.documents import Document
from lmbook.transformer import GPTConfig
recipe.corpora.load = lambda *args, **options: [Document(text) for text in {TEXTS!r}]
run = trained(Recipe(**{{**{dataclasses.asdict(SMALL)!r}, "model": GPTConfig(**{dataclasses.asdict(MODEL)!r})}}),
              folder=sys.argv[1])
print(run.recipe.key)
"""


@pytest.fixture(autouse=True)
def texts(monkeypatch):
    monkeypatch.setattr(recipe.corpora, "load", lambda *args, **options: [Document(text) for text in TEXTS])


def weights(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(weights(left), weights(right), strict=True))


def test_a_run_is_a_loop_over_the_parts_that_the_recipe_names(tmp_path):
    run = trained(SMALL, folder=tmp_path)

    bpe = run.tokenizer
    tokens = torch.tensor([id for text in TEXTS[:2] for id in [*bpe.encode(text), bpe.special_tokens["<|endoftext|>"]]])
    model = GPT(MODEL)
    model.reset_parameters(torch.Generator().manual_seed(0))
    lr = partial(warmup_cosine, warmup=3, total=25, peak=1e-2, floor=1e-4)
    batches = Batches(tokens, batch_size=2, length=9, seed=0)
    torch.manual_seed(0)
    by_hand = list(
        train_loop(model, batches, steps=25, lr=lr, optimizer=adamw(model, weight_decay=0.1, betas=(0.9, 0.999)))
    )

    assert [(s.step, s.loss, s.lr) for s in run.history] == [(s.step, s.loss, s.lr) for s in by_hand]
    assert [s.step for s in run.history if s.validation_loss] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 25]
    best = min(run.history, key=lambda s: s.validation_loss or 1e9)
    assert json.loads((run.folder / "best" / "training.json").read_text())["step"] == best.step
    assert best.step == 25 and same(run.model, model) and not run.model.training  # so that `model` is the best one


def test_muon_is_for_the_matrices_of_the_layers(tmp_path):
    run = trained(dataclasses.replace(SMALL, optimizer="muon"), folder=tmp_path)
    state = load_file(run.folder / "last" / "training.safetensors")
    moved = {name for name in state if name.endswith("exp_avg")} - {
        name.replace("_sq", "") for name in state if name.endswith("exp_avg_sq")
    }
    matrices = {name for name, weight in run.model.named_parameters() if "blocks" in name and weight.ndim == 2}
    assert moved == {f"optimizer.{name}.exp_avg" for name in matrices}
    assert not same(run.model, trained(SMALL, folder=tmp_path).model)


def test_the_tokenizer_has_not_seen_what_is_held_out(tmp_path):
    run = Run(SMALL, folder=tmp_path)
    assert run.texts == (TEXTS[:2], TEXTS[2:])
    learnt, held_out = run.tokens
    assert run.tokenizer.decode(learnt.tolist()) == f"{TEXTS[0]}<|endoftext|>{TEXTS[1]}<|endoftext|>"
    assert run.tokenizer.decode(held_out.tolist()) == f"{TEXTS[2]}<|endoftext|>"
    alone = recipe.BPE.train(TEXTS[:2], 270, special_tokens=["<|endoftext|>"])
    assert run.tokenizer.merges == alone.merges


def test_what_was_made_is_loaded_and_not_made_again(tmp_path, monkeypatch):
    first = trained(SMALL, folder=tmp_path)
    monkeypatch.setattr(recipe, "train", None)
    monkeypatch.setattr(recipe.corpora, "load", None)
    again = trained(SMALL, folder=tmp_path)
    assert same(first.model, again.model) and again.history == first.history
    assert again.tokenizer.merges == first.tokenizer.merges


def test_a_run_that_was_broken_off_ends_with_the_same_weights(tmp_path):
    whole = trained(SMALL, folder=tmp_path / "whole")
    steps = Run(SMALL, folder=tmp_path / "broken").steps()
    for _ in range(13):
        next(steps)
    steps.close()
    broken = trained(SMALL, folder=tmp_path / "broken")
    assert same(whole.model, broken.model) and broken.history == whole.history
    assert len((broken.folder / "history.jsonl").read_text().strip().splitlines()) == 26  # 13, and from 13 on again


def test_a_line_that_was_cut_short_is_done_again(tmp_path):
    whole = trained(SMALL, folder=tmp_path / "whole")
    steps = Run(SMALL, folder=tmp_path / "broken").steps()
    for _ in range(13):
        next(steps)
    steps.close()
    with open(tmp_path / "broken" / SMALL.key / "history.jsonl", "r+") as file:
        file.truncate(len(file.read()) - 40)
    broken = trained(SMALL, folder=tmp_path / "broken")
    assert broken.history == whole.history and same(whole.model, broken.model)


def test_two_processes_make_one_run(tmp_path):
    both = [
        subprocess.Popen([sys.executable, "-c", ALONE, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    keys = {process.communicate(timeout=120)[0].decode().strip() for process in both}
    assert [process.returncode for process in both] == [0, 0] and keys == {SMALL.key}
    steps = [
        json.loads(line)["step"] for line in (tmp_path / SMALL.key / "history.jsonl").read_text().strip().splitlines()
    ]
    assert steps == list(range(1, 26))  # the second one waited, and trained nothing


def test_early_weights_are_kept(tmp_path):
    run = trained(SMALL, folder=tmp_path)
    steps = Run(SMALL, folder=tmp_path / "again").steps()
    fresh = next(steps)
    steps.close()
    assert fresh == run.history[0]
    assert same(run.at(0), Run(SMALL, folder=tmp_path).model)
    assert same(run.at(1), Run(SMALL, folder=tmp_path / "again").at(1))
    assert not same(run.at(1), run.at(0)) and not same(run.at(10), run.at(1)) and not same(run.at(10), run.model)
    with pytest.raises(ValueError, match="step-2"):
        run.at(2)


CHANGES = [
    {"seed": 1},
    {"lr": 2e-2},
    {"steps": 26},
    {"batch_size": 4},
    {"limit": 4},
    {"beta2": 0.9},
    {"optimizer": "muon"},
]


@pytest.mark.parametrize("change", [*CHANGES, {"model": dataclasses.replace(MODEL, n_layers=2)}])
def test_another_recipe_has_another_key(change):
    assert dataclasses.replace(SMALL, **change).key != SMALL.key == dataclasses.replace(SMALL).key


def test_other_code_has_another_key(tmp_path, monkeypatch):
    for file in ("__init__.py", "pretraining/__init__.py", "pretraining/recipe.py"):
        (tmp_path / "pkg" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pkg" / file).write_text("")
    monkeypatch.setattr(recipe, "__file__", str(tmp_path / "pkg" / "pretraining" / "recipe.py"))
    recipe._digest.cache_clear()
    before = SMALL.key
    (tmp_path / "pkg" / "pretraining" / "recipe.py").write_text("x = 2")
    assert before == SMALL.key  # one process, one code: what it has loaded does not change any more
    recipe._digest.cache_clear()
    assert before != SMALL.key
    recipe._digest.cache_clear()


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("LMBOOK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "lmbook"
    monkeypatch.setenv("LMBOOK_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine" == Run(SMALL).folder.parent


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warmup": 25}, "warmup must be from 0 to total - 1 = 24, got 25"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"n_held_out": 0}, "n_held_out must be at least 1, got 0"),
        ({"lr": 0.0}, "peak must be .* got 0.0"),
        ({"optimizer": "sgd"}, "optimizer must be .*adamw.*muon.* got 'sgd'"),
    ],
)
def test_settings_that_cannot_be_used(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


def test_more_held_out_than_there_is(tmp_path):
    run = Run(dataclasses.replace(SMALL, n_held_out=3), folder=tmp_path)
    with pytest.raises(ValueError, match="n_held_out must be below the 3 documents, got 3"):
        run.texts  # noqa: B018


def test_the_recipe_of_the_book_fits_its_text(monkeypatch):
    monkeypatch.undo()
    learnt, held_out = Run(SHAKESPEARE).texts
    assert len(learnt) == 40 and [text.split("\n")[0] for text in held_out] == [
        "THE TWO GENTLEMEN OF VERONA",
        "THE WINTER'S TALE",
    ]
