"""Checkers for the exercises of the chapter on text and tokens."""

import random

from lmbook.exercises.core import WrongAnswer, compare, exercise, near
from lmbook.text import BPE, SMOLLM2_PATTERN


def _pair(got, what: str) -> tuple:
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise WrongAnswer(f"return two things, {what}, got {type(got).__name__}")
    return tuple(got)


@exercise
def padded_share(answer) -> str:
    """``answer(lengths, batch_size)`` is the share of padding when each batch is padded to its longest."""
    rng = random.Random(0)
    cases = [([3, 3, 3, 3], 2), ([1, 3], 2), ([1, 9, 2, 8], 2), ([5, 1, 4], 2), ([2, 6, 3], 1)]
    cases.append(([rng.randint(1, 99) for _ in range(50)], 8))
    for lengths, size in cases:
        batches = [lengths[i : i + size] for i in range(0, len(lengths), size)]
        want = 1 - sum(lengths) / sum(len(batch) * max(batch) for batch in batches)
        got = answer(list(lengths), size)
        case = f"lengths {lengths[:8]}, batches of {size}"
        wrong = {
            "padded to the longest of all": 1 - sum(lengths) / (len(lengths) * max(lengths)),
            "the mean of the batches' shares": sum(1 - sum(b) / len(b) / max(b) for b in batches) / len(batches),
            "sorted first": 1 - sum(lengths) / _positions(sorted(lengths), size),
            "with the last batch filled up": 1 - sum(lengths) / sum(size * max(batch) for batch in batches),
            "the share of real tokens": 1 - want,
        }
        for what, value in wrong.items():
            if not near(got, want) and near(got, value):
                raise WrongAnswer(f"{case}: that is {what}")
        compare(got, want, case)
    return "padding over all positions"


def _positions(lengths: list[int], size: int) -> int:
    batches = [lengths[i : i + size] for i in range(0, len(lengths), size)]
    return sum(len(batch) * max(batch) for batch in batches)


@exercise
def number_tokens(answer) -> str:
    """``answer(bpe)`` is how many tokens of a vocabulary hold two digits or more."""
    text = " ".join(f"in {year} Ada wrote {year % 97} codes, x{year}y" for year in range(1815, 1853)) + " ٢٣ ٢٣ ٢٣"
    by_hand = BPE({b"1": 0, b"8": 1, b" ": 2, b"18": 3, b" 18": 4, b" 1": 5}, [], special_tokens={"<2026>": 6})
    odd = BPE({b"1": 0, b"a": 1, b"1a": 2, b"1a1": 3, b"\xe7\xa0": 4, b"x11": 5, b"11": 9}, [])
    cases = {
        "6 tokens and a special one, <2026>": (by_hand, 2),
        "tokens 1a1, x11, 11 and half a Chinese character": (odd, 3),
        "300 tokens, numbers joined": (BPE.train([text], 300), None),
        "300 tokens, digits cut apart": (BPE.train([text], 300, pattern=SMOLLM2_PATTERN), None),
    }
    for case, (bpe, want) in cases.items():
        digits = [sum(48 <= byte <= 57 for byte in token) for token in bpe.vocab]
        want = sum(count >= 2 for count in digits) if want is None else want
        got = answer(bpe)
        if not near(got, want):
            if near(got, sum(count >= 1 for count in digits)):
                raise WrongAnswer(f"{case}: you count single digits as well")
            if near(got, sum(token.strip().isdigit() and len(token.strip()) > 1 for token in bpe.vocab)):
                raise WrongAnswer(f"{case}: a token may hold something beside its digits")
        compare(got, want, case)
    return "the tokens in which digits are joined"


@exercise
def strip_templates(answer) -> str:
    """``answer(markup)`` is the markup without its templates, nested or not."""
    cases = {
        "Ada codes": "Ada codes",
        "Ada{{b}} codes": "Ada codes",
        "{{a}}Ada{{b}} codes{{c}}": "Ada codes",
        "Ada{{efn|born {{age|1815}} there}} codes": "Ada codes",
        "{{a|{{b|{{c}}d}}{{e}}}}she {tests}": "she {tests}",
        "x{{a{b}c}}y": "xy",
        " a {{b}} c{{d}}": " a  c",
        "a\n{{b\nc}}d": "a\nd",
        "she{{" * 6 + "}} codes" * 6: "she codes",
    }
    for markup, want in cases.items():
        got = answer(markup)
        if markup.count("{{") > 1 and got == markup[: markup.index("{{")] + markup[markup.rindex("}}") + 2 :] != want:
            raise WrongAnswer(f"{markup!r}: you removed the text between two templates as well")
        if isinstance(got, str) and "{{a{b}c}}" in got:
            raise WrongAnswer(f"{markup!r}: a template may hold single braces")
        if isinstance(got, str) and "}}" in got:
            raise WrongAnswer(f"{markup!r}: the end of an outer template is left, got {got!r}; count the depth")
        if isinstance(got, str) and got != want and got.split() == want.split():
            raise WrongAnswer(f"{markup!r}: white space outside of templates stays as it is, got {got!r}")
        compare(got, want, repr(markup))
    return "templates are gone at every depth"


class _Ranks:
    """Ranks that can be asked for a pair, as a dict can, and not be walked through."""

    def __init__(self, merges):
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}

    def __contains__(self, pair):
        return pair in self._ranks

    def __getitem__(self, pair):
        return self._ranks[pair]

    def get(self, pair, default=None):
        return self._ranks.get(pair, default)

    def __iter__(self):
        raise TypeError("ranks cannot be walked through; ask it for the pairs of this piece")

    def __len__(self):
        return len(self._ranks)

    def __repr__(self):
        return f"<{len(self._ranks)} ranks>"


@exercise
def apply_merges(answer) -> str:
    """``answer(piece, ranks)`` is the list of tokens (bytes) of a piece (bytes)."""
    cases = [
        (b"she", [], [b"s", b"h", b"e"]),
        (b"", [(b"s", b"h")], []),
        (b"she", [(b"s", b"h"), (b"sh", b"e")], [b"she"]),
        (b"aaaa", [(b"a", b"a")], [b"aa", b"aa"]),
        (b"aaa", [(b"a", b"a")], [b"aa", b"a"]),
        (b"abc", [(b"b", b"c"), (b"a", b"b")], [b"a", b"bc"]),
        (b"abcd", [(b"b", b"c"), (b"a", b"b"), (b"ab", b"cd"), (b"a", b"bc")], [b"abc", b"d"]),
    ]
    learned = BPE.train(["Ada codes she codes; she decodes, Ada encodes codes"], 275)
    for word in ["codes", "decoders", "shells", "Adages"]:
        pieces = [learned.token_bytes(id) for id in learned.encode(word)]
        cases.append((word.encode(), learned.merges, pieces))
    for piece, merges, want in cases:
        got = answer(piece, _Ranks(merges))
        case = f"{piece!r} with the merges {merges[:4]}"
        if isinstance(got, list) and all(isinstance(t, bytes) for t in got) and b"".join(got) != piece:
            raise WrongAnswer(f"{case}: the tokens do not spell the piece, got {got}")
        if piece == b"abc" and got == [b"ab", b"c"]:
            raise WrongAnswer("the lowest rank goes first, even where another pair stands further left")
        compare(got, want, case)
    return "lowest rank first, each from the left"


@exercise
def band_chance(answer) -> str:
    """``answer(s, n_hashes, bands)`` is the probability that two texts of similarity s become candidates."""
    for s, n, bands in [
        (0.7, 12, 4),
        (0.5, 128, 32),
        (0.8, 128, 32),
        (0.3, 100, 20),
        (0.7, 8, 8),
        (0.0, 6, 2),
        (1, 6, 2),
    ]:
        rows = n // bands
        want, got = 1 - (1 - s**rows) ** bands, answer(s, n, bands)
        case = f"s = {s}, {n} hashes in {bands} bands"
        wrong = {
            "that is one band's chance; there are more of them": s**rows,
            "the chance of each band is added up; that may pass 1": bands * s**rows,
            "that is the chance to be missed": 1 - want,
            "that is the chance that all places agree": s**n,
            "a band agrees when all its places do; you ask for one": 1 - (1 - s) ** n,
            "bands and rows are exchanged": 1 - (1 - s**bands) ** rows,
        }
        for hint, value in wrong.items():
            if not near(got, want) and near(got, value):
                raise WrongAnswer(f"{case}: {hint}")
        compare(got, want, case)
    return "at least one band agrees in all its places"


@exercise
def whole_part(answer) -> str:
    """``answer(data)`` is the text of the whole characters in data, and the bytes that must wait."""
    for text in ["Ada", "", "é", "码", "写代码 she", "👩 codes", "a👩", "a\u0301b", "real \ufffd!"]:
        data = text.encode()
        for end in range(len(data) + 1):
            want = data[:end].decode(errors="ignore")
            shown, held = _pair(answer(data[:end]), "the text and the bytes held back")
            if isinstance(shown, str) and shown.count("\ufffd") > want.count("\ufffd"):
                raise WrongAnswer(f"{data[:end]!r}: you show a character that is not whole yet, {shown!r}")
            if shown == want and bytes(held) != data[len(want.encode()) : end]:
                raise WrongAnswer(f"{data[:end]!r}: {data[len(want.encode()) : end]!r} must be held back, got {held!r}")
            if isinstance(shown, str) and want.startswith(shown) and shown != want:
                raise WrongAnswer(f"{data[:end]!r}: {want[len(shown) :]!r} is whole and can be shown, got {shown!r}")
            compare(shown, want, f"the text of {data[:end]!r}")
    return "every character whole, no byte lost"
