"""GGUF files that are damaged, incomplete, too much, or of another model: each error names the file and why."""

import re

import pytest

from lmbook.interop import load_smollm2


def refused(path, message):
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{re.escape(message)}"):
        load_smollm2(path)


CHANGED_GGUF = [
    (lambda f, t: f.update({"general.architecture": "gpt2"}), "general.architecture must be 'llama', got 'gpt2'"),
    (lambda f, t: f.update({"tokenizer.ggml.pre": "llama-bpe"}), "tokenizer.ggml.pre must be 'smollm', got"),
    (lambda f, t: f.update({"tokenizer.ggml.model": "llama"}), "tokenizer.ggml.model must be 'gpt2', got 'llama'"),
    (lambda f, t: f.pop("llama.rope.freq_base"), "has no field 'llama.rope.freq_base'"),
    (lambda f, t: f.pop("tokenizer.ggml.merges"), "has no field 'tokenizer.ggml.merges'"),
    (lambda f, t: f.update({"llama.rope.dimension_count": 4}), "llama.rope.dimension_count must be d_model / n_heads"),
    (lambda f, t: f.update({"llama.attention.head_count": 5}), "d_model must be divisible by n_heads, got d_model=32"),
    (lambda f, t: f.update({"tokenizer.ggml.token_type": [3]}), "tokenizer.ggml.token_type must have 7 entries, got 1"),
    (lambda f, t: f.update({"tokenizer.ggml.merges": ["a x"]}), "merges[0] is b'a' + b'x'"),
    (lambda f, t: t.pop("blk.1.attn_q.weight"), "holds nothing for blocks.1.self_attention.sublayer.w_q.weight"),
    (lambda f, t: t.update({"rope_freqs.weight": t["output_norm.weight"]}), "holds rope_freqs.weight, for which a GPT"),
    (lambda f, t: t.update({"token_embd.weight": t["blk.0.attn_q.weight"]}),
     "token_embd.weight must have shape (61, 32) as configured, got (32, 32)"),
    (lambda f, t: t.update({"blk.0.attn_q.weight": t["output_norm.weight"][:31]}), 
     "blk.0.attn_q.weight must have shape (32, 32) as configured, got (31,)"),
]  # fmt: skip


@pytest.mark.parametrize(
    "change, message", CHANGED_GGUF, ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_changed_gguf(published, gguf_file, change, message):
    path = gguf_file(published("LlamaForCausalLM"), change)
    refused(path, message)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.02, 0.05, 0.5, 0.99])
def test_truncated_gguf(published, gguf_file, share):
    path = gguf_file(published("LlamaForCausalLM"))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(path, " is no whole GGUF file: ")


def test_header_cut_anywhere(published, gguf_file):
    path = gguf_file(published("LlamaForCausalLM"))
    whole = path.read_bytes()
    for keep in range(0, 600):
        path.write_bytes(whole[:keep])
        refused(path, " is no whole GGUF file: ")


def test_gguf_that_is_something_else(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"<html>404</html>" * 100)
    refused(path, " is no whole GGUF file: ")
    refused(tmp_path, "which is no file")
