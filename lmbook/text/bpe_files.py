"""Byte-pair encoding, the files: the package's own (one JSON) and GPT-2's (vocab.json and merges.txt)."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lmbook.text._files import write_whole
from lmbook.text.pieces import from_printable, to_printable

_FORMAT = "lmbook-bpe-1"


def parse_vocab(vocab: dict[str, int]) -> dict[bytes, int]:
    """A vocabulary from {"Ġthe": 262} to {b" the": 262}."""
    return {from_printable(token): id for token, id in vocab.items()}


def parse_merges(merges: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """Merges from "Ġ the" to (b" ", b"the"); a ValueError names the first that is not two tokens."""
    pairs = []
    for number, merge in enumerate(merges):
        pair = merge.split(" ")
        if len(pair) != 2 or not all(pair):
            raise ValueError(f"merges[{number}] must be two tokens with one space between, got {merge!r}")
        pairs.append((from_printable(pair[0]), from_printable(pair[1])))
    return pairs


def write_bpe(path: str | os.PathLike, tokenizer) -> None:
    """Write a tokenizer, whole or not at all."""
    content = {
        "format": _FORMAT,
        "pattern": tokenizer.pattern,
        "special_tokens": tokenizer.special_tokens,
        "vocab": {to_printable(token): id for token, id in tokenizer.vocab.items()},
        "merges": [f"{to_printable(left)} {to_printable(right)}" for left, right in tokenizer.merges],
    }
    write_whole(path, json.dumps(content, ensure_ascii=False, indent=0))


def read_bpe(path: str | os.PathLike) -> dict:
    """The arguments of `BPE` from a file that `write_bpe` wrote; a ValueError for any other or damaged file."""
    content = _read_json(path)
    kinds = {"pattern": str, "special_tokens": dict, "vocab": dict, "merges": list}
    if content.pop("format", None) != _FORMAT or {key: type(value) for key, value in content.items()} != kinds:
        raise ValueError(f"{path} is not a tokenizer that BPE.save wrote ({_FORMAT})")
    try:
        return content | {"vocab": parse_vocab(content["vocab"]), "merges": parse_merges(content["merges"])}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def read_gpt2(
    vocab_path: str | os.PathLike,
    merges_path: str | os.PathLike,
    special_tokens: Iterable[str] | Mapping[str, int],
) -> dict:
    """The arguments of `BPE` from GPT-2's two files; a ValueError if they are truncated or other files."""
    vocab = _read_json(vocab_path)
    merges = Path(merges_path).read_bytes().decode("utf-8", errors="replace")
    lines = [line.rstrip("\r") for line in merges.split("\n")]
    try:
        merges = parse_merges(line for line in lines[lines[0].startswith("#version") :] if line)
    except ValueError as error:
        raise ValueError(f"{merges_path} is no list of merges, or damaged: {error}") from None
    special_ids = _special_ids(vocab, special_tokens, vocab_path)
    vocab = parse_vocab({token: id for token, id in vocab.items() if token not in special_ids})
    made = {left + right for left, right in merges}
    if orphans := [token for token in vocab if len(token) > 1 and token not in made]:
        raise ValueError(f"{merges_path} makes {len(orphans)} tokens of {vocab_path} not, {orphans[0]!r} for one")
    return {"vocab": vocab, "merges": merges, "special_tokens": special_ids}


def _special_ids(vocab: dict[str, int], special_tokens, path: str | os.PathLike) -> dict[str, int]:
    if isinstance(special_tokens, str):
        raise TypeError(f"special_tokens must be several names, or names and ids, got {special_tokens!r}")
    wanted = dict(special_tokens) if isinstance(special_tokens, Mapping) else dict.fromkeys(special_tokens)
    for token, id in wanted.items():
        found = vocab.get(token, id)
        if found is None:
            raise ValueError(
                f"{path} has no special token {token!r}: pass special_tokens, the names that it has, or names and ids"
            )
        if id not in (None, found):
            raise ValueError(f"{path} has the id {found} for the special token {token!r}, got {id}")
        wanted[token] = found
    return wanted


def _read_json(path: str | os.PathLike) -> dict:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # json.JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"{path} is not a whole JSON file: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(content).__name__}")
    return content
