"""tokenizer.json, in which the library `tokenizers` keeps a tokenizer: our byte-level BPE to it, and from it."""

import json
from pathlib import Path

from lmbook.interop.files import read_json
from lmbook.text import BPE, GPT2_PATTERN, SMOLLM2_PATTERN
from lmbook.text.pieces import to_printable

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False}  # an added token is found wherever its text stands
_AWKWARD = (
    "It's 12,345.67 apples,  don't\tyou'LL see?\n\n  \r\nÜber naïve café — 東京、42年 мир שלום ½Ⅷ",
    " \u00a0\u3000\u2028\x0b\x0c\x1c\x1f\x85 a\u00a0b c\u00a0 d\x1ce\x85f \ufffd\u200b\u00ad",
    "👩‍🚀1️⃣ e\u0301 _x_ a1b22c333d4444 ...!?;)) \t \n\t end   ",
    "for i in range(10):\n    x[i] += 1  # 100%\r\n\r\n\tпривет123мир",
)  # fmt: skip


def tokenizer_json(tokenizer: BPE) -> str:
    """The contents of tokenizer.json for a tokenizer, tried on awkward texts and on every token.

    `tokenizers` takes special tokens in a text as such, as ``encode(text, special=True)`` does; and it leaves out
    a byte for which the vocabulary has no token, where ``encode`` raises an error.

    Raises:
        ImportError: `tokenizers`, which is asked for its ids, is not installed.
        ValueError: it cuts text otherwise by this pattern.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ImportError("writing tokenizer.json needs: pip install tokenizers") from None
    split = {"type": "Split", "pattern": {"Regex": tokenizer.pattern}, "behavior": "Isolated", "invert": False}
    content = {
        "version": "1.0",
        "added_tokens": [
            {"id": id, "content": token, **_PLAIN, "normalized": False, "special": True}
            for token, id in sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, _BYTES | {"use_regex": False}]},
        "post_processor": None,
        "decoder": _BYTES | {"use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": {to_printable(token): id for token, id in tokenizer.vocab.items()} | tokenizer.special_tokens,
            "merges": [[to_printable(left), to_printable(right)] for left, right in tokenizer.merges],
        },
    }
    text = json.dumps(content, ensure_ascii=False)
    try:
        theirs = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"tokenizers refuses this tokenizer, of pattern {tokenizer.pattern!r}: {error}") from None
    for token, id in tokenizer.special_tokens.items():
        if (got := theirs.decode([id], skip_special_tokens=False)) != token:
            raise ValueError(f"tokenizers reads the special token {token!r} as {got!r}")
    every = (tokenizer.decode([id]) for id in tokenizer.vocab.values())
    for sample in [*_AWKWARD, *(char for text in _AWKWARD for char in text), *every, *tokenizer.special_tokens]:
        try:
            ids = tokenizer.encode(sample, special=True)
        except ValueError:  # a byte without a token
            continue
        if (got := theirs.encode(sample, add_special_tokens=False).ids) != ids:
            raise ValueError(
                f"tokenizers cuts {sample!r} otherwise by pattern={tokenizer.pattern!r}: {got} and not {ids}"
            )
    return text


def load_tokenizer(folder: str | Path) -> BPE:
    """The byte-level BPE in tokenizer.json of a folder, as ``save_pretrained``, GPT-2 and SmolLM2 have it.

    Raises:
        ValueError: no such file, a damaged one, another kind of tokenizer, or a setting that ``BPE`` does not have.
    """
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no tokenizer.json")
    content = read_json(path)
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        raise ValueError(f"{path} holds no BPE")
    for key in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                "byte_fallback", "ignore_merges"):  # fmt: skip
        if model.get(key):
            raise ValueError(f"{path}: {key} = {model[key]!r} is not supported")
    if content.get("normalizer") is not None:
        raise ValueError(f"{path}: a normalizer is not supported, got {content['normalizer']!r}")
    if (content.get("post_processor") or {"type": "ByteLevel"}).get("type") != "ByteLevel":
        raise ValueError(
            f"{path}: a post_processor that adds tokens is not supported, got {content['post_processor']!r}"
        )
    if (content.get("decoder") or {}).get("type") != "ByteLevel":
        raise ValueError(f"{path}: decoder must be 'ByteLevel', got {content.get('decoder')!r}")
    special = {}
    for token in content.get("added_tokens", []):
        if any(token.get(key) for key in _PLAIN):
            raise ValueError(f"{path}: an added token may not be {', '.join(_PLAIN)}, got {token!r}")
        special[token["content"]] = token["id"]
    vocab = {token: id for token, id in model["vocab"].items() if token not in special}
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
    try:
        return BPE.from_printable(vocab, merges, pattern=_pattern(path, content), special_tokens=special)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _pattern(path: Path, content: dict) -> str:
    """The pattern by which text is cut; `tokenizers` has several ways to say GPT-2's and SmolLM2's."""
    steps = content.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    kinds = [step.get("type") for step in steps]
    if kinds[-1] == "ByteLevel" and not steps[-1].get("add_prefix_space", True):
        cuts = steps[-1].get("use_regex", True)
        if kinds == ["ByteLevel"] and cuts:
            return GPT2_PATTERN
        if kinds == ["Digits", "ByteLevel"] and cuts and steps[0].get("individual_digits"):
            return SMOLLM2_PATTERN
        if kinds == ["Split", "ByteLevel"] and not cuts and "Regex" in steps[0]["pattern"]:
            if (steps[0].get("behavior"), steps[0].get("invert")) == ("Isolated", False):
                return steps[0]["pattern"]["Regex"]
    raise ValueError(f"a pre_tokenizer like this one is not supported: {content.get('pre_tokenizer')!r}")
