"""Write the model of the pretraining chapter as two files that the playground page loads.

    python scripts/playground.py --out _build/playground

The folder gets model.json (the configuration, where each tensor stands, the tokenizer, prompts to try) and weights.bin
(the tensors one after another in float16, little-endian). It is written whole or not at all.
"""

import argparse
import base64
import hashlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from lmbook.text import GPT2_PATTERN
from lmbook.text.bpe import BPE
from lmbook.transformer import GPT

FORMAT = "lmbook-playground-1"
# web/static/playground/model.js computes these and no others.
CHOICES = {"positions": "rotary", "norm": "rms", "feed_forward": "swiglu", "bias": False}
PROMPTS = (
    "ROMEO.\n",
    "To be, or not to be",
    "My lord, I have news from the",
    "Enter HAMLET",
    "Hey, can you send me the report by Monday?",
)


def export(model: GPT, tokenizer: BPE, folder: str | os.PathLike, *, prompts: tuple[str, ...] = PROMPTS) -> int:
    """Write model.json and weights.bin; return the number of bytes of weights.bin.

    Raises:
        ValueError: the page cannot run this model, the tokenizer is another model's, or a weight has no float16.
    """
    config, folder = model.config, Path(folder)
    if wrong := {name: getattr(config, name) for name in CHOICES if getattr(config, name) != CHOICES[name]}:
        raise ValueError(f"the playground runs a GPT with {CHOICES}, got {wrong}")
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(f"tokenizer has ids below {tokenizer.vocab_size}, the model below {config.vocab_size}")
    tensors, weights = pack(model)
    content = {
        "format": FORMAT,
        "config": asdict(config),
        "tensors": tensors,
        "bytes": len(weights),
        "integrity": "sha256-" + base64.b64encode(hashlib.sha256(weights).digest()).decode(),
        "tokenizer": describe(tokenizer),
        "prompts": list(prompts),
    }
    write_folder(folder, {"weights.bin": weights, "model.json": json.dumps(content, ensure_ascii=False).encode()})
    return len(weights)


def pack(model: GPT) -> tuple[dict[str, dict], bytes]:
    """Shape and first byte of each tensor by name, and the bytes of them all."""
    tensors, weights = {}, bytearray()
    for name, tensor in model.state_dict().items():
        if name == "unembed.weight" and model.config.tie_embeddings:
            continue  # it is embed.weight
        half = tensor.detach().cpu().to(torch.float16)
        if not half.isfinite().all():
            raise ValueError(f"{name} holds a weight that float16 cannot hold: NaN, or beyond 65504")
        tensors[name] = {"shape": list(half.shape), "offset": len(weights)}
        weights += half.numpy().astype("<f2").tobytes()
    return tensors, bytes(weights)


def describe(tokenizer: BPE) -> dict:
    """A tokenizer in numbers: the bytes of each token in the order of the ids, and merges as [left, right, merged]."""
    if tokenizer.pattern != GPT2_PATTERN:  # tokenizer.js has it, in JavaScript's way of writing
        raise ValueError(f"tokenizer must cut text by GPT2_PATTERN, got {tokenizer.pattern!r}")
    vocab = tokenizer.vocab
    tokens = [[] for _ in range(tokenizer.vocab_size)]
    for token, id in vocab.items():
        tokens[id] = list(token)
    return {
        "tokens": tokens,
        "merges": [[vocab[left], vocab[right], vocab[left + right]] for left, right in tokenizer.merges],
        "special_tokens": tokenizer.special_tokens,
    }


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a new folder that then takes the place of the old one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}."))
    try:
        for name, content in files.items():
            (new / name).write_bytes(content)
        new.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Export the model of the pretraining chapter for the playground page.")
    parser.add_argument("--out", type=Path, default=Path("_build/playground"), help="the folder to write")
    options = parser.parse_args(arguments)
    from lmbook.pretraining.recipe import SHAKESPEARE, trained

    run = trained(SHAKESPEARE)
    size = export(run.model, run.tokenizer, options.out)
    print(f"{options.out}: {size / 1e6:.1f} MB of weights")
    return 0


if __name__ == "__main__":
    sys.exit(main())
