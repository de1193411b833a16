"""Checkers for the exercises of the chapter on text and tokens."""

import math
import random
from collections import Counter

from lmbook.exercises.core import WrongAnswer, compare, exercise
from lmbook.text import BPE


def _pair(got, what: str) -> tuple:
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise WrongAnswer(f"return two things, {what}, got {type(got).__name__}")
    return tuple(got)


@exercise
def unknown_share(answer) -> str:
    """``answer(known, new)`` is the share of the words in new that are not in known."""
    for known, new in [("a b c", "a d"), ("Ada codes", "she she Ada codes she"), ("a a a b", "a b b a"), ("a", "b c")]:
        known, new = known.split(), new.split()
        got, want = answer(known, new), sum(word not in known for word in new) / len(new)
        kinds, missing = set(new), set(new) - set(known)
        if got != want and isinstance(got, int | float):
            if math.isclose(got, len(missing) / len(kinds)):
                raise WrongAnswer("you counted different words; a word counts as often as it stands in new")
            if math.isclose(got, sum(word not in new for word in known) / len(known)):
                raise WrongAnswer("that is the share of known words which are not in new")
            if math.isclose(got, 1 - want):
                raise WrongAnswer("that is the share of the words that are known")
        compare(got, want, f"known {known}, new {new}")
    return "each word counted as often as it stands there"


@exercise
def strip_templates(answer) -> str:
    """``answer(markup)`` is the markup without its templates, nested or not."""
    cases = {
        "Ada codes": "Ada codes",
        "Ada{{b}} codes": "Ada codes",
        "{{a}}Ada{{b}} codes{{c}}": "Ada codes",
        "Ada{{efn|born {{age|1815}} there}} codes": "Ada codes",
        "{{a|{{b|{{c}}d}}{{e}}}}she {tests}": "she {tests}",
    }
    for markup, want in cases.items():
        got = answer(markup)
        if markup.count("{{") > 1 and got == markup[: markup.index("{{")] + markup[markup.rindex("}}") + 2 :] != want:
            raise WrongAnswer(f"{markup!r}: you removed the text between two templates as well")
        if isinstance(got, str) and "}}" in got:
            raise WrongAnswer(f"{markup!r}: the end of an outer template is left, got {got!r}; count the depth")
        compare(got, want, repr(markup))
    return "templates are gone at every depth"


@exercise
def apply_merges(answer) -> str:
    """``answer(piece, merges)`` is the list of tokens (bytes) of a piece (bytes)."""
    cases = [
        (b"she", [], [b"s", b"h", b"e"]),
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
        got = answer(piece, merges)
        case = f"{piece!r} with the merges {merges[:4]}"
        if isinstance(got, list) and b"".join(map(bytes, (t if isinstance(t, bytes) else b"?" for t in got))) != piece:
            raise WrongAnswer(f"{case}: the tokens do not spell the piece, got {got}")
        if piece == b"abc" and got == [b"ab", b"c"]:
            raise WrongAnswer("an earlier merge goes first, even where a later one stands further left")
        compare(got, want, case)
    return "earliest merge first, each from the left"


@exercise
def padded_share(answer) -> str:
    """``answer(lengths, batch_size)`` is the share of padding when each batch is padded to its longest."""
    rng = random.Random(0)
    cases = [([3, 3, 3, 3], 2), ([1, 3], 2), ([1, 9, 2, 8], 2), ([5, 1, 4], 2)]
    cases.append(([rng.randint(1, 99) for _ in range(50)], 8))
    for lengths, size in cases:
        batches = [lengths[i : i + size] for i in range(0, len(lengths), size)]
        want = 1 - sum(lengths) / sum(len(batch) * max(batch) for batch in batches)
        got = answer(list(lengths), size)
        case = f"lengths {lengths[:8]}, batches of {size}"
        if isinstance(got, float) and not math.isclose(got, want, abs_tol=1e-9):
            wrong = {
                "padded to the longest of all": 1 - sum(lengths) / (len(lengths) * max(lengths)),
                "the mean of the batches' shares": sum(1 - sum(b) / len(b) / max(b) for b in batches) / len(batches),
                "sorted first": 1 - sum(lengths) / _positions(sorted(lengths), size),
                "with the last batch filled up": 1 - sum(lengths) / sum(size * max(batch) for batch in batches),
                "the share of real tokens": 1 - want,
            }
            for what, value in wrong.items():
                if math.isclose(got, value):
                    raise WrongAnswer(f"{case}: that is {what}")
        compare(got, want, case)
    return "padding over all positions"


def _positions(lengths: list[int], size: int) -> int:
    batches = [lengths[i : i + size] for i in range(0, len(lengths), size)]
    return sum(len(batch) * max(batch) for batch in batches)


@exercise
def estimate(answer) -> str:
    """``answer(first, second)`` is the MinHash estimate of two signatures and its standard deviation."""
    first = [1, 2, 3, 4]
    for second in (first, [2, 1, 4, 3], [1, 9, 3, 8], [1, 1, 1, 1]):
        share, spread = _pair(answer(first, second), "the estimate and its standard deviation")
        s = sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
        common = (Counter(first) & Counter(second)).total() / len(first)
        union = len(set(first) & set(second)) / len(set(first) | set(second))
        if share != s and share in (common, union):
            raise WrongAnswer("you compared values wherever they stand; only equal values in the same place count")
        compare(share, s, f"the estimate from {first} and {second}")
        if s not in (0, 1) and math.isclose(spread, s * (1 - s) / len(first)):
            raise WrongAnswer("that is the variance; take its square root")
        compare(spread, math.sqrt(s * (1 - s) / len(first)), f"the standard deviation from {first} and {second}")
    return "a share of votes, with the error of a share"


@exercise
def whole_part(answer) -> str:
    """``answer(data)`` is the text of the whole characters in data, and the bytes that must wait."""
    for text in ["Ada", "", "é", "码", "写代码 she", "👩 codes", "a\u0301b"]:
        data = text.encode()
        for end in range(len(data) + 1):
            want = data[:end].decode(errors="ignore")
            shown, held = _pair(answer(data[:end]), "the text and the bytes held back")
            if isinstance(shown, str) and "\ufffd" in shown:
                raise WrongAnswer(f"{data[:end]!r}: you show a character that is not whole yet, {shown!r}")
            if shown == want and held != data[len(want.encode()) : end]:
                raise WrongAnswer(f"{data[:end]!r}: {data[len(want.encode()) : end]!r} must be held back, got {held!r}")
            compare(shown, want, f"the text of {data[:end]!r}")
    return "every character whole, no byte lost"
