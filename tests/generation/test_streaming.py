"""Text from tokens: whole characters, stop strings, and nothing held back longer than it must be."""

import random

import pytest

from lmbook.generation import stream_text

WORDS = [
    "lighthouse ",
    "日本語",
    "naïve",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "👩‍💻",
    "a",
    "ab",
    "aab",
    "END",
    "E",
    "EN",
    "\n\n",
    "ß",
    "🙂🙂",
    " ",
    "\ufffd",
    "\ufffd\ufffd",
]


class Vocabulary:
    """Byte strings as tokens; decoding replaces what is no whole character, as BPE.decode does."""

    def __init__(self):
        self.tokens, self.decoded, self.longest = [], 0, 0

    def cut(self, data, rng):
        ids = []
        while data:
            size = rng.randint(1, 5)
            self.tokens.append(data[:size])
            ids.append(len(self.tokens) - 1)
            data = data[size:]
        return ids

    def __call__(self, ids):
        self.decoded, self.longest = self.decoded + 1, max(self.longest, len(ids))
        return b"".join(self.tokens[id] for id in ids).decode("utf-8", "replace")


def up_to_the_stop(text, stop):
    """The text before the stop string that is complete first, reading letter by letter."""
    for end in range(1, len(text) + 1):
        found = [word for word in stop if text[:end].endswith(word)]
        if found:
            return text[: end - max(map(len, found))]
    return text


@pytest.mark.parametrize("seed", range(4))
def test_any_text_cut_into_any_tokens_with_any_stop_strings(seed):
    rng = random.Random(seed)
    stopped = 0
    for _ in range(150):
        text = "".join(rng.choices(WORDS, k=rng.randint(1, 12)))
        vocabulary = Vocabulary()
        ids = vocabulary.cut(text.encode(), rng)
        stop = rng.sample([*WORDS, "house", "語na"], rng.randint(0, 3))
        pieces = list(stream_text(ids, vocabulary, stop))
        expected = up_to_the_stop(text, stop)
        assert "".join(pieces) == expected and all(pieces)
        stopped += expected != text
    assert 50 < stopped < 140


def test_text_comes_as_soon_as_it_is_certain():
    vocabulary = Vocabulary()
    rng, text, stop = random.Random(0), "🙂 ENDless EN🙂EN. \ufffdaab", ["END!", "aaa"]
    ids = vocabulary.cut(text.encode(), rng)
    given, seen = "", b""

    def tokens():
        nonlocal seen
        for id in ids:
            if seen:  # a real U+FFFD waits for what comes after it
                whole = seen.decode("utf-8", "ignore").rstrip("\ufffd")
                held = max((n for word in stop for n in range(1, len(word)) if whole.endswith(word[:n])), default=0)
                assert given == whole[: len(whole) - held]
            seen += vocabulary.tokens[id]
            yield id

    for piece in stream_text(tokens(), vocabulary, stop):
        given += piece
    assert given == text and seen == text.encode()


def test_reads_no_token_after_the_one_that_completes_a_stop_string():
    vocabulary = Vocabulary()
    vocabulary.tokens = [b"say ", b"E", b"N", b"Dless", b"more"]
    tokens = iter([0, 1, 2, 3, 4])
    assert list(stream_text(tokens, vocabulary, ["END"])) == ["say "]
    assert list(tokens) == [4]


def test_of_two_stop_strings_in_one_token_the_one_that_is_complete_first_ends_the_text():
    vocabulary = Vocabulary()
    vocabulary.tokens = [b"the lighthouse keeper", *(bytes([byte]) for byte in b"the lighthouse keeper")]
    stop = ["lighthouse k", "house", "use"]
    for ids in ([0], range(1, len(vocabulary.tokens))):
        assert "".join(stream_text(ids, vocabulary, stop)) == "the light"


def test_what_is_left_at_the_end_comes_as_decode_shows_it():
    vocabulary = Vocabulary()
    vocabulary.tokens = [b"caf", b"\xc3", b"\xa9 ", b"EN", b"\xf0\x9f", b"\x99"]
    assert list(stream_text([0, 1, 2, 3, 4, 5], vocabulary, ["END"])) == ["caf", "é ", "EN\ufffd"]
    vocabulary.tokens = [b"ok", "\ufffd".encode(), b"\xef", b"\xbf", b"\xbd"]  # a real one, whole and in bytes
    for ids in ([0, 1], [0, 2, 3, 4], [0, 1, 2, 3, 4]):
        assert list(stream_text(ids, vocabulary)) == ["ok", "\ufffd" * (1 + (len(ids) == 5))]


def test_bytes_that_are_no_character_do_not_hold_up_what_follows():
    vocabulary = Vocabulary()
    vocabulary.tokens = [b"a", b"\xff", b"\xff\xf0\x9f", b"\x99\x82b", b"c"]
    assert list(stream_text([0, 1, 2, 3, 4], vocabulary)) == ["a", "\ufffd\ufffd🙂b", "c"]


def test_a_tokenizer_that_falls_back_on_bytes():
    """Llama 2's decoder shows U+FFFD for each byte of a run that is no whole text, those of a whole character too."""
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"a": 256, "bc": 257}
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, [], byte_fallback=True))
    theirs.decoder = tokenizers.decoders.Sequence([tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse()])
    rng = random.Random(0)
    for _ in range(200):
        text = "".join(rng.choices(["a", "bc", "€", "🙂", "ß", "\ufffd", "🙂🙂", "👩‍💻"], k=rng.randint(1, 9)))
        ids = []
        for character in text.replace("bc", "b"):
            ids += {"a": [256], "b": [257]}.get(character) or list(character.encode())
        assert theirs.decode(ids) == text == "".join(stream_text(ids, theirs.decode))
    ids = [*"€🙂".encode(), 256, *"ß".encode()]
    assert list(stream_text(ids, theirs.decode)) == ["€", "🙂", "a", "ß"]
    assert list(stream_text(ids[:-1], theirs.decode)) == ["€", "🙂", "a", "\ufffd"]


def test_a_tokenizer_that_drops_the_first_space_and_skips_special_tokens():
    words = ["<s>", " two", " words", ",", " 🙂", " end"]

    def decode(ids):
        return "".join(words[id] for id in ids if id).removeprefix(" ")

    assert "".join(stream_text([0, 1, 2, 0, 3, 0, 4, 5, 0], decode)) == "two words, 🙂 end"


def test_each_step_decodes_a_few_tokens_only():
    vocabulary = Vocabulary()
    ids = vocabulary.cut(("naïve 🙂 " * 200).encode(), random.Random(0))
    "".join(stream_text(ids, vocabulary))
    assert vocabulary.longest <= 10 and vocabulary.decoded <= 2 * len(ids)


def test_with_the_tokenizer_of_the_package():
    from lmbook.text.bpe import BPE

    tokenizer = BPE.train(["the lighthouse keeper wrote of the 海 and 🙂"], 270)
    text = "the 🙂 keeper wrote: 海海 and STOP here"
    ids = tokenizer.encode(text)
    assert "".join(stream_text(ids, tokenizer.decode)) == text
    assert "".join(stream_text(iter(ids), tokenizer.decode, ("STOP",))) == "the 🙂 keeper wrote: 海海 and "
    assert len(list(stream_text(ids, tokenizer.decode))) > 15
