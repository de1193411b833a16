"""Byte-pair encoding, the training: which pairs of neighbours become one token.

Source: Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units", algorithm 1.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable

from tqdm.auto import tqdm

from lmbook.text.pieces import BYTE_TO_CHAR, GPT2_PATTERN, compile_pattern, utf8


class _Descending(tuple):
    """A tuple that sorts backwards, so that `heapq` pops the greatest first."""

    __lt__ = tuple.__gt__


def join_pair(word: list[int], pair: tuple[int, int], merged: int) -> list[int]:
    """The word with each occurrence of the pair, from the left, replaced by the merged token."""
    joined, position = [], 0
    while position < len(word):
        if word[position] == pair[0] and position + 1 < len(word) and word[position + 1] == pair[1]:
            joined.append(merged)
            position += 2
        else:
            joined.append(word[position])
            position += 1
    return joined


def learn_merges(
    texts: Iterable[str], n_tokens: int, *, pattern: str = GPT2_PATTERN, ties: str = "greater"
) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Again and again, join the pair of neighbours that occurs most often, until there are n_tokens tokens.

    Args:
        texts: any iterable of strings; it is read once, and only the counts of its pieces are kept.
        n_tokens: the 256 bytes and the merged tokens. There are fewer in the end if no pair occurs twice any more.
        pattern: regular expression that cuts text into pieces; pairs are counted inside pieces only.
        ties: of pairs with equal counts, "greater" takes the greater pair of byte strings, as the authors' own
            code does; "oldest" takes the pair with the smaller ids, as the `tokenizers` library does.

    Returns:
        The tokens in order of their ids (the 256 bytes first, as GPT-2 numbers them), and the merges in order.

    Raises:
        ValueError: n_tokens is below 256, ties is unknown, or texts hold no text.

    Source: Sennrich et al. 2016, algorithm 1. Departures: pairs are counted once and then updated, where the
    algorithm counts anew before each merge (the result is the same); no end-of-word symbol, since a piece
    carries the space before it.
    Book: From text to tokens.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of strings, not one string: pass [text]")
    if n_tokens < 256:
        raise ValueError(f"n_tokens must be at least 256, one for each byte, got {n_tokens}")
    if ties not in ("greater", "oldest"):
        raise ValueError(f'ties must be "greater" or "oldest", got {ties!r}')
    pieces, split = Counter(), compile_pattern(pattern).split
    for text in texts:
        pieces.update(split(text))
    del pieces[""]
    if not pieces:
        raise ValueError("texts hold no text to learn from")

    tokens = [bytes([byte]) for byte in BYTE_TO_CHAR]  # id -> bytes
    ids = {token: id for id, token in enumerate(tokens)}
    words = [[ids[bytes([byte])] for byte in utf8(piece)] for piece in pieces]
    counts = list(pieces.values())
    pair_counts, where = Counter(), defaultdict(set)  # where: pair -> numbers of the words that held it at some time
    for number, word in enumerate(words):
        for pair in zip(word, word[1:], strict=False):
            pair_counts[pair] += counts[number]
            where[pair].add(number)

    def candidate(pair):
        left, right = pair
        tie = (tokens[left], tokens[right]) if ties == "greater" else (-left, -right)
        return _Descending((pair_counts[pair], tie, pair))

    heap = [candidate(pair) for pair in pair_counts]
    heapq.heapify(heap)
    merges = []
    with tqdm(total=n_tokens - len(tokens), desc="merges", delay=5) as bar:
        while heap and len(tokens) < n_tokens:
            count, _, pair = heapq.heappop(heap)
            if count != pair_counts[pair]:  # it was put there when it occurred more often: put it back in its place
                if pair_counts[pair]:
                    heapq.heappush(heap, candidate(pair))
                continue
            if count < 2:
                break
            left, right = tokens[pair[0]], tokens[pair[1]]
            merges.append((left, right))
            if left + right not in ids:  # it is there if, say, "ab" + "c" made the token that "a" + "bc" makes
                ids[left + right] = len(tokens)
                tokens.append(left + right)
                bar.update()
            merged = ids[left + right]
            grown = set()
            for number in where.pop(pair):
                old, new = words[number], join_pair(words[number], pair, merged)
                for neighbours in zip(old, old[1:], strict=False):
                    pair_counts[neighbours] -= counts[number]
                for neighbours in zip(new, new[1:], strict=False):
                    pair_counts[neighbours] += counts[number]
                    if merged in neighbours:
                        where[neighbours].add(number)
                        grown.add(neighbours)
                words[number] = new
            for neighbours in grown:
                heapq.heappush(heap, candidate(neighbours))
    return tokens, merges
