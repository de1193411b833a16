"""The exercises of the chapter on text and tokens, four ways."""

import re

import pytest

from lmbook.exercises import text_to_tokens as check


def stub(*args): ...


def unknown(known, new):
    return sum(word not in known for word in new) / len(new)


def strip(markup):
    before = None
    while markup != before:
        before, markup = markup, re.sub(r"\{\{((?!\{\{|\}\}).)*\}\}", "", markup)
    return markup


def merge(piece, merges, *, order=list):
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    for left, right in order(merges):
        position = 0
        while position + 1 < len(tokens):
            if tokens[position] == left and tokens[position + 1] == right:
                tokens[position : position + 2] = [left + right]
            position += 1
    return tokens


def longest(piece, merges):
    tokens, known = [], {a + b for a, b in merges}
    while piece:
        end = next((n for n in range(len(piece), 1, -1) if piece[:n] in known), 1)
        tokens, piece = [*tokens, piece[:end]], piece[end:]
    return tokens


def padding(lengths, size, *, order=list, widest=False, fill=False):
    lengths = order(lengths)
    batches = [lengths[i : i + size] for i in range(0, len(lengths), size)]
    positions = sum((size if fill else len(batch)) * max(lengths if widest else batch) for batch in batches)
    return 1 - sum(lengths) / positions


def mean_of_shares(lengths, size):
    batches = [lengths[i : i + size] for i in range(0, len(lengths), size)]
    return sum(padding(batch, size) for batch in batches) / len(batches)


def votes(first, second):
    s = sum(map(int.__eq__, first, second)) / len(first)
    return s, (s * (1 - s) / len(first)) ** 0.5


def whole(data):
    text = data.decode(errors="ignore")
    return text, data[len(text.encode()) :]


TABLE = [
    (
        check.unknown_share,
        {
            "stub": stub,
            "reference": unknown,
            "wrong": [
                (lambda known, new: len(set(new) - set(known)) / len(set(new)), "as often as it stands"),
                (lambda known, new: unknown(new, known), "known words which are not in new"),
                (lambda known, new: 1 - unknown(known, new), "words that are known"),
                (lambda known, new: 0.0, "expected"),
            ],
        },
    ),
    (
        check.strip_templates,
        {
            "stub": stub,
            "reference": strip,
            "wrong": [
                (lambda markup: re.sub(r"\{\{.*?\}\}", "", markup), "count the depth"),
                (lambda markup: re.sub(r"\{\{.*\}\}", "", markup), "between two templates"),
                (lambda markup: strip(markup).replace("{", ""), "expected"),
            ],
        },
    ),
    (
        check.apply_merges,
        {
            "stub": stub,
            "reference": merge,
            "wrong": [
                (longest, "an earlier merge goes first"),
                (lambda piece, merges: merge(piece, merges, order=lambda m: m[::-1]), "expected"),
                (lambda piece, merges: [piece], "expected"),
                (lambda piece, merges: sorted(merge(piece, merges)), "do not spell"),
            ],
        },
    ),
    (
        check.padded_share,
        {
            "stub": stub,
            "reference": padding,
            "wrong": [
                (lambda lengths, size: padding(lengths, size, widest=True), "longest of all"),
                (lambda lengths, size: padding(lengths, size, order=sorted), "sorted first"),
                (lambda lengths, size: padding(lengths, size, fill=True), "filled up"),
                (mean_of_shares, "mean of the batches' shares"),
                (lambda lengths, size: 1 - padding(lengths, size), "share of real tokens"),
                (lambda lengths, size: 0.5, "expected"),
            ],
        },
    ),
    (
        check.estimate,
        {
            "stub": stub,
            "reference": votes,
            "wrong": [
                (lambda a, b: (len(set(a) & set(b)) / len(a), 0.0), "in the same place"),
                (lambda a, b: (votes(a, b)[0], votes(a, b)[1] ** 2), "variance"),
                (lambda a, b: votes(a, b)[0], "two things"),
                (lambda a, b: (votes(a, b)[0], 0.1), "standard deviation"),
            ],
        },
    ),
    (
        check.whole_part,
        {
            "stub": stub,
            "reference": whole,
            "wrong": [
                (lambda data: (data.decode(errors="replace"), b""), "not whole yet"),
                (lambda data: (data.decode(errors="ignore"), b""), "must be held back"),
                (lambda data: (data.decode(), b""), "UnicodeDecodeError"),
                (lambda data: ("", data), "the text of"),
                (lambda data: data.decode(errors="ignore"), "two things"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
