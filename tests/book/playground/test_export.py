"""What is exported for the playground is whole, and what the page could not run is refused."""

import json

import numpy as np
import pytest
import torch

from lmbook.text import SMOLLM2_PATTERN
from lmbook.text.bpe import BPE
from lmbook.transformer import GPT, GPTConfig

from .conftest import SCRIPT, TEXTS, loud


def test_the_files_hold_every_weight(tmp_path, tokenizer):
    model = loud(tokenizer, tie_embeddings=False, n_kv_heads=2)
    size = SCRIPT.export(model, tokenizer, tmp_path / "a" / "model")
    description = json.loads((tmp_path / "a" / "model" / "model.json").read_text(encoding="utf-8"))
    content = (tmp_path / "a" / "model" / "weights.bin").read_bytes()
    assert size == len(content) == 2 * sum(parameter.numel() for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        place = description["tensors"].pop(name)
        found = np.frombuffer(content, "<f2", tensor.numel(), place["offset"]).reshape(place["shape"])
        assert torch.equal(torch.from_numpy(found.astype(np.float32)), tensor.half().float())
    assert description["tensors"] == {}


def test_a_tied_matrix_is_stored_once(tmp_path, tokenizer):
    model = loud(tokenizer)
    assert SCRIPT.export(model, tokenizer, tmp_path / "model") == 2 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    "choice", [{"positions": "learned"}, {"norm": "layer"}, {"feed_forward": "gelu"}, {"bias": True}]
)
def test_a_model_that_the_page_cannot_run_is_refused(tmp_path, tokenizer, choice):
    config = GPTConfig(vocab_size=300, max_len=8, d_model=8, n_layers=1, n_heads=2, **(SCRIPT.CHOICES | choice))
    (name,) = choice
    with pytest.raises(ValueError, match=f"got {{'{name}'"):
        SCRIPT.export(GPT(config), tokenizer, tmp_path / "model")


def test_other_tokenizers_are_refused(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="tokenizer has ids below 280, the model below 300"):
        SCRIPT.export(loud(tokenizer), BPE.train(TEXTS * 3, 280), tmp_path / "model")
    with pytest.raises(ValueError, match="GPT2_PATTERN"):
        SCRIPT.export(loud(tokenizer), BPE.train(TEXTS * 3, 300, pattern=SMOLLM2_PATTERN), tmp_path / "model")


def test_an_export_is_whole_or_not_at_all(tmp_path, tokenizer, monkeypatch):
    """A weight without a float16, and a disk that is full, leave the earlier files as they were, and nothing beside."""
    folder, model = tmp_path / "model", loud(tokenizer)
    SCRIPT.export(model, tokenizer, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with torch.no_grad():
        model.norm.weight[0] = 1e6
    with pytest.raises(ValueError, match="norm.weight holds a weight that float16 cannot hold"):
        SCRIPT.export(model, tokenizer, folder)

    def full(path, content):
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        SCRIPT.export(loud(tokenizer, std=0.1), tokenizer, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]
