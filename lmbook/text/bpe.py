"""Byte-level byte-pair encoding, the tokenizer: text to ids and back.

Source: Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units"; bytes in place
of characters from Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", sec. 2.2.
"""

import heapq
import operator
import os
from collections.abc import Iterable, Iterator, Mapping

import regex

from lmbook.text.bpe_files import parse_merges, parse_vocab, read_bpe, read_gpt2, write_bpe
from lmbook.text.bpe_training import learn_merges
from lmbook.text.pieces import GPT2_PATTERN, compile_pattern, utf8

_CACHED_PIECES = 1 << 16  # the ids of so many different pieces are remembered,
_CACHED_LENGTH = 64  # of so many characters at most


class BPE:
    """A byte-level BPE tokenizer: cut the text into pieces, then join pairs inside each piece, earliest merge first.

    Args:
        vocab: bytes of each token -> its id. A byte without a token cannot be encoded.
        merges: pairs of tokens in the order in which they were learnt.
        pattern: regular expression (of the `regex` module) that cuts text into pieces. What it does not match is a
            piece too, so that no text is lost.
        special_tokens: text of each special token -> its id.

    Raises:
        ValueError: a merge of unknown tokens, an id used twice or below 0, a pattern with a capturing group.

    Book: From text to tokens.
    """

    def __init__(
        self,
        vocab: Mapping[bytes, int],
        merges: Iterable[tuple[bytes, bytes]],
        *,
        pattern: str = GPT2_PATTERN,
        special_tokens: Mapping[str, int] | None = None,
    ):
        self.vocab, self.merges, self.pattern = dict(vocab), list(merges), pattern
        self.special_tokens = dict(special_tokens or {})
        if not self.vocab or b"" in self.vocab or "" in self.special_tokens:
            raise ValueError("vocab may not be empty, and no token may be empty")
        names = self.vocab | self.special_tokens
        if bad := [token for token, id in names.items() if type(id) is not int or id < 0]:
            raise ValueError(f"ids must be integers of at least 0, got {names[bad[0]]!r} for {bad[0]!r}")
        self._bytes = {id: token if isinstance(token, bytes) else utf8(token) for token, id in names.items()}
        if len(self._bytes) < len(names):
            raise ValueError(f"each token needs an id of its own, got {len(self._bytes)} ids for {len(names)} tokens")
        self._ranks = _ranks(self.vocab, self.merges)
        self._pieces = compile_pattern(pattern)
        # Longest first: where "<end>" and "<end>s" are both special, the longer one is meant.
        self._special = regex.compile("|".join(map(regex.escape, sorted(self.special_tokens, key=len, reverse=True))))
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        *,
        pattern: str = GPT2_PATTERN,
        special_tokens: Iterable[str] = (),
        ties: str = "greater",
    ) -> "BPE":
        """Learn a vocabulary: the 256 bytes, then merged tokens, then the special tokens, vocab_size in all.

        See `learn_merges` for the training itself, its other arguments and its errors.
        """
        special_tokens = list(dict.fromkeys(special_tokens))
        if vocab_size < (least := 256 + len(special_tokens)):
            raise ValueError(f"vocab_size must be at least {least} (bytes and special tokens), got {vocab_size}")
        tokens, merges = learn_merges(texts, vocab_size - len(special_tokens), pattern=pattern, ties=ties)
        special_ids = {token: id for id, token in enumerate(special_tokens, start=len(tokens))}
        vocab = {token: id for id, token in enumerate(tokens)}
        return cls(vocab, merges, pattern=pattern, special_tokens=special_ids)

    @property
    def vocab_size(self) -> int:
        """One more than the greatest id, which is how many rows an embedding needs."""
        return max(self._bytes) + 1

    def __repr__(self) -> str:
        return f"BPE(vocab_size={self.vocab_size}, merges={len(self.merges)}, special_tokens={self.special_tokens})"

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a text; with special=True, special tokens in it become their own ids.

        By default they are text like any other: what a user types must not be able to end a turn or a document.

        Raises:
            ValueError: the text holds a lone surrogate, or a byte for which this vocabulary has no token.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, got {type(text).__name__}")
        return [id for _, ids in self._encoded(text, special) for id in ids]

    def encode_iterable(self, chunks: Iterable[str], *, special: bool = False) -> Iterator[int]:
        """The ids of a text that comes in chunks, one by one: the same as `encode` gives for the joined text.

        What comes next may change the last piece of a chunk ("th" + "e"), so that the end of each chunk is held back,
        from its last white space on. Whatever the length of the text, the memory in use is that of one chunk, of
        the longest run of text without white space, and of the ids of up to 65,536 pieces that the tokenizer
        remembers (some 10 MB where all are different). The pattern may not look behind a piece, nor past the white
        space that ends it or follows it: true of the patterns of GPT-2 to GPT-4o, Llama 3, Qwen and SmolLM2.
        """
        if isinstance(chunks, str):
            raise TypeError("chunks must be an iterable of strings, not one string: pass [text]")
        held, longest = "", max(map(len, self.special_tokens), default=0) if special else 0
        for chunk in chunks:
            held += chunk
            whole = len(held) - max(longest - 1, 0)  # a special token that starts before here is there to its end
            cut, position = 0, 0  # what comes next cannot change the pieces that end at the cut or before it
            for match in self._special.finditer(held) if longest else ():
                cut = match.end() if match.start() < whole else cut
            if last_word := regex.search(r"(?r)\S(?=\s)", held, pos=cut, endpos=max(whole, cut)):
                cut = last_word.end()
            for piece, ids in self._encoded(held, special) if cut else ():
                if position + len(piece) > cut:
                    break
                position += len(piece)
                yield from ids
            held = held[position:]
        yield from self.encode(held, special=special)

    def decode(self, ids: Iterable[int], *, errors: str = "replace") -> str:
        """The text of ids; bytes that are no whole UTF-8 character become "\ufffd", or raise with errors="strict".

        Raises:
            ValueError: an id that no token has.
        """
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors)

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token, which need not be whole characters."""
        try:
            return self._bytes[operator.index(id)]
        except KeyError:
            raise ValueError(f"no token has the id {id}; this vocabulary has ids up to {self.vocab_size - 1}") from None

    def _encoded(self, text: str, special: bool) -> Iterator[tuple[str, list[int]]]:
        """Each piece of the text with its ids."""
        start = 0
        for match in self._special.finditer(text) if special and self.special_tokens else ():
            yield from self._encoded(text[start : match.start()], special=False)
            yield match[0], [self.special_tokens[match[0]]]
            start = match.end()
        for piece in self._pieces.splititer(text[start:]):
            if piece:
                ids = self._cache.get(piece)
                yield piece, self._encode_piece(piece) if ids is None else ids

    def _encode_piece(self, piece: str) -> list[int]:
        """Join the pair with the earliest merge, the leftmost first, until no pair is left that has one.

        With a heap of pairs and a linked list of tokens this takes n log n steps for n bytes. To look for the best
        pair anew after each merge takes n squared: hours for a piece of 100,000 letters, and users send such things.
        """
        try:
            ids = [self.vocab[bytes([byte])] for byte in utf8(piece)]
        except KeyError as error:
            raise ValueError(f"text holds the byte {error.args[0]!r}, for which this vocabulary has no token") from None
        end, heap = len(ids), []
        before, after = list(range(-1, end - 1)), list(range(1, end + 1))

        def push(left, right):
            if left >= 0 and right < end and (found := self._ranks.get((ids[left], ids[right]))):
                heapq.heappush(heap, (found[0], left, right, found[1]))

        for position in range(end - 1):
            push(position, position + 1)
        while heap:
            rank, left, right, merged = heapq.heappop(heap)
            if self._ranks.get((ids[left], ids[right]), (None,))[0] != rank or after[left] != right:
                continue  # one of the two has been joined to its other neighbour
            ids[left], ids[right], after[left] = merged, None, after[right]
            if after[left] < end:
                before[after[left]] = left
            push(before[left], left)
            push(left, after[left])
        ids = [id for id in ids if id is not None]
        if len(piece) <= _CACHED_LENGTH:
            if len(self._cache) >= _CACHED_PIECES:
                self._cache.clear()
            self._cache[piece] = ids
        return ids

    def save(self, path: str | os.PathLike) -> None:
        """Write the tokenizer to one JSON file, whole or not at all."""
        write_bpe(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "BPE":
        """The tokenizer that `save` wrote; a ValueError if the file is another one, or only a part."""
        return cls(**read_bpe(path))

    @classmethod
    def from_printable(
        cls,
        vocab: Mapping[str, int],
        merges: Iterable[str],
        *,
        pattern: str = GPT2_PATTERN,
        special_tokens: Mapping[str, int] | None = None,
    ) -> "BPE":
        """A tokenizer from tokens and merges as GPT-2, Hugging Face and GGUF files write them: "Ġthe", "Ġ the".

        The special tokens are plain text, such as ``<|im_end|>``, and do not stand in vocab.
        """
        return cls(parse_vocab(vocab), parse_merges(merges), pattern=pattern, special_tokens=special_tokens)

    @classmethod
    def from_gpt2(
        cls,
        vocab_path: str | os.PathLike,
        merges_path: str | os.PathLike,
        *,
        pattern: str = GPT2_PATTERN,
        special_tokens: Iterable[str] | Mapping[str, int] = ("<|endoftext|>",),
    ) -> "BPE":
        """The tokenizer in two files in GPT-2's format, vocab.json (or encoder.json) and merges.txt (or vocab.bpe).

        Args:
            pattern: how text is cut into pieces. The files do not say: those of another model than GPT-2 (SmolLM2,
                Qwen2, ...) need that model's own, or the ids come out wrong where the two cut differently.
            special_tokens: names of the special tokens in vocab.json; or names and ids, as a mapping, where they
                stand in another file. Without any: ().

        Raises:
            ValueError: a file is truncated or another file, the two do not belong together, or vocab.json lacks a
                special token or has another id for it.
        """
        return cls(pattern=pattern, **read_gpt2(vocab_path, merges_path, special_tokens))


def _ranks(vocab: Mapping[bytes, int], merges: Iterable[tuple[bytes, bytes]]) -> dict[tuple[int, int], tuple[int, int]]:
    """Pair of ids -> (number of its merge, id of the merged token)."""
    made, ranks = {bytes([byte]) for byte in range(256)} & vocab.keys(), {}
    for rank, (left, right) in enumerate(merges):
        if left not in made or right not in made or left + right not in vocab:
            raise ValueError(f"merges[{rank}] is {left!r} + {right!r}: not two earlier tokens, or not one together")
        made.add(left + right)
        ranks[vocab[left], vocab[right]] = rank, vocab[left + right]
    return ranks
