"""The exercises of the chapter on text and tokens, four ways."""

import re

import numpy as np
import pytest
import regex

from lmbook.exercises import text_to_tokens as check


def stub(*args): ...


def padding(lengths, size, *, order=list, widest=False, fill=False):
    lengths = order(lengths)
    batches = [lengths[i : i + size] for i in range(0, len(lengths), size)]
    positions = sum((size if fill else len(batch)) * max(lengths if widest else batch) for batch in batches)
    return 1 - sum(lengths) / positions


def padding_in_place(lengths, size):
    total, positions = sum(lengths), 0
    while lengths:
        batch, lengths[:] = lengths[:size], lengths[size:]
        positions += len(batch) * max(batch)
    return np.float32((positions - total) / positions) if positions > total else 0


def mean_of_shares(lengths, size):
    batches = [lengths[i : i + size] for i in range(0, len(lengths), size)]
    return sum(padding(batch, size) for batch in batches) / len(batches)


def digits(bpe):
    return sum(len(re.findall(rb"[0-9]", token)) > 1 for token in bpe.vocab)


def strip(markup, *, rounds=99, inside=r"((?!\{\{|\}\}).)*"):
    for _ in range(rounds):
        markup = re.sub(r"\{\{" + inside + r"\}\}", "", markup, flags=re.DOTALL)
    return markup


def strip_by_depth(markup):
    kept, depth, position = [], 0, 0
    while position < len(markup):
        mark = markup[position : position + 2]
        if mark in ("{{", "}}"):
            depth += 1 if mark == "{{" else -1
            position += 2
        else:
            kept += [markup[position]] * (depth == 0)
            position += 1
    return "".join(kept)


def merge(piece, ranks, *, choose=min):
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        pairs = [(ranks[pair], i) for i, pair in enumerate(zip(tokens, tokens[1:], strict=False)) if pair in ranks]
        if not pairs:
            return tokens
        _, i = choose(pairs)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def leftmost(piece, ranks):
    return merge(piece, ranks, choose=lambda pairs: min(pairs, key=lambda pair: pair[1]))


def all_of_a_rank(piece, ranks):
    tokens = [bytes([byte]) for byte in piece]
    while len(tokens) > 1:
        best = min(zip(tokens, tokens[1:], strict=False), key=lambda pair: ranks.get(pair, float("inf")))
        if best not in ranks:
            break
        joined = []
        for token in tokens:
            if joined and (joined[-1], token) == best and not isinstance(joined[-1], bytearray):
                joined[-1] = bytearray(joined[-1] + token)  # a new token does not take part in this round
            else:
                joined.append(token)
        tokens = [bytes(token) for token in joined]
    return tuple(tokens)


def pass_per_merge(piece, ranks):
    tokens = [bytes([byte]) for byte in piece]
    for pair in ranks:
        tokens = [pair] if tokens == list(pair) else tokens
    return tokens


def chance(s, n, bands):
    return 1 - (1 - s ** (n // bands)) ** bands


def whole(data):
    text = data.decode(errors="ignore")
    return text, data[len(text.encode()) :]


def whole_by_first_byte(data):
    end = position = 0
    while position < len(data):
        first = data[position]
        position += 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        end = position if position <= len(data) else end
    return [data[:end].decode(), bytearray(data[end:])]


def whole_by_two(data):
    """Holds back two bytes at most, and nothing is shown of what ends in three."""
    for held in range(min(3, len(data) + 1)):
        text = data[: len(data) - held].decode(errors="replace")
        if "\ufffd" not in text:
            return text, data[len(data) - held :]
    return "", data


TABLE = [
    (
        check.padded_share,
        {
            "stub": stub,
            "reference": padding,
            "right": [padding_in_place, lambda lengths, size: [padding(lengths, size)][0]],
            "wrong": [
                (lambda lengths, size: padding(lengths, size, widest=True), "longest of all"),
                (lambda lengths, size: padding(lengths, size, order=sorted), "sorted first"),
                (lambda lengths, size: padding(lengths, size, fill=True), "filled up"),
                (mean_of_shares, "mean of the batches' shares"),
                (lambda lengths, size: 1 - padding(lengths, size), "share of real tokens"),
                (lambda lengths, size: 0.5, "expected"),
                (lambda lengths, size: padding(lengths, 2), r"batches of 1\b"),
            ],
        },
    ),
    (
        check.number_tokens,
        {
            "stub": stub,
            "reference": digits,
            "right": [
                lambda bpe: float(digits(bpe)),
                lambda bpe: len([t for t in bpe.vocab if sum(chr(b) in "0123456789" for b in t) >= 2]),
                lambda bpe: np.int64(sum(len(re.sub(r"\D", "", t.decode("latin-1"))) > 1 for t in bpe.vocab)),
            ],
            "wrong": [
                (lambda bpe: sum(bool(re.search(rb"[0-9]", t)) for t in bpe.vocab), "single digits"),
                (lambda bpe: sum(bool(re.fullmatch(rb" ?[0-9]{2,}", t)) for t in bpe.vocab), "beside its digits"),
                (lambda bpe: sum(bool(re.search(rb"[0-9]{2}", t)) for t in bpe.vocab), "1a1.*expected 3, got 2"),
                (lambda bpe: len(bpe.vocab), "expected 2, got 6"),
                (lambda bpe: sum(len(re.findall("[0-9]", t.decode())) > 1 for t in bpe.vocab), "UnicodeDecodeError"),
            ],
        },
    ),
    (
        check.strip_templates,
        {
            "stub": stub,
            "reference": strip,
            "right": [
                strip_by_depth,
                lambda markup: regex.sub(r"(?s)\{\{(?:(?!\{\{|\}\}).|(?R))*\}\}", "", markup),
            ],
            "wrong": [
                (lambda markup: re.sub(r"\{\{.*?\}\}", "", markup), "count the depth"),
                (lambda markup: re.sub(r"\{\{.*\}\}", "", markup), "between two templates"),
                (lambda markup: strip(markup).replace("{", ""), "expected"),
                (lambda markup: strip(markup, inside=r"[^{}]*"), "single braces"),
                (lambda markup: strip(markup, rounds=3), "she{{she{{she{{"),
                (lambda markup: re.sub(" +", " ", strip(markup)), "white space outside"),
                (lambda markup: strip(markup).strip(), "white space outside .* got 'a  c'"),
            ],
        },
    ),
    (
        check.apply_merges,
        {
            "stub": stub,
            "reference": merge,
            "right": [all_of_a_rank],
            "wrong": [
                (leftmost, "lowest rank goes first"),
                (lambda piece, ranks: merge(piece, ranks, choose=max), "expected"),
                (lambda piece, ranks: [piece], "expected"),
                (lambda piece, ranks: sorted(merge(piece, ranks)), "do not spell"),
                (pass_per_merge, "cannot be walked through"),
            ],
        },
    ),
    (
        check.band_chance,
        {
            "stub": stub,
            "reference": chance,
            "right": [
                lambda s, n, bands: 1 - np.prod([1 - np.prod([s] * (n // bands))] * bands),
                lambda s, n, bands: np.float32(chance(s, n, bands)),
                lambda s, n, bands: int(s) if s in (0, 1) else chance(s, n, bands),
            ],
            "wrong": [
                (lambda s, n, bands: s ** (n // bands), "one band's chance"),
                (lambda s, n, bands: bands * s ** (n // bands), "added up"),
                (lambda s, n, bands: 1 - chance(s, n, bands), "missed"),
                (lambda s, n, bands: s**n, "all places agree"),
                (lambda s, n, bands: 1 - (1 - s) ** n, "you ask for one"),
                (lambda s, n, bands: chance(s, n, n // bands), "exchanged"),
                (lambda s, n, bands: chance(s, 12, bands) if bands == 4 else chance(s, 128, bands), "s = 0.3"),
                (lambda s, n, bands: 1 - (1 - s**4) ** bands, "expected .* got"),
            ],
        },
    ),
    (
        check.whole_part,
        {
            "stub": stub,
            "reference": whole,
            "right": [whole_by_first_byte],
            "wrong": [
                (lambda data: (data.decode(errors="replace"), b""), "not whole yet"),
                (lambda data: (data.decode(errors="ignore"), b""), "must be held back"),
                (lambda data: (data.decode(), b""), "UnicodeDecodeError"),
                (lambda data: ("", data), "whole and can be shown"),
                (lambda data: data.decode(errors="ignore"), "two things"),
                (whole_by_two, "'a' is whole"),
                (lambda data: (whole(data)[0].replace("\ufffd", ""), whole(data)[1]), "the text of|can be shown"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
