"""Text from a stream of tokens, as soon as it is certain."""

from collections.abc import Callable, Collection, Iterable, Iterator


def stream_text(tokens: Iterable[int], decode: Callable[[list[int]], str], stop: Collection[str] = ()) -> Iterator[str]:
    """Yield the text of tokens piece by piece, in whole characters, and end before the first stop string.

    Text is held back as long as it may be the beginning of a stop string or ends in a part of a character. What is
    unfinished when the tokens end is left out.

    Args:
        tokens: read one by one, and no further than the token that completes a stop string.
        decode: gives the text of a list of ids, with "\\ufffd" for a part of a character, as ``BPE.decode`` does.
        stop: the text ends before whichever of these is complete first.

    Raises:
        TypeError: stop is one string, or holds something else.
        ValueError: a stop string is empty.

    Book: decoding.
    """
    if isinstance(stop, str) or not isinstance(stop, Collection) or not all(isinstance(text, str) for text in stop):
        raise TypeError(f"stop must be a collection of strings, got {stop!r}")
    if "" in stop:
        raise ValueError(f"stop must hold no empty string, got {stop!r}")
    held = ""
    for piece in _whole_characters(tokens, decode):
        held += piece
        found = [(start + len(text), start) for text in stop if (start := held.find(text)) >= 0]
        if found:
            held = held[: min(found)[1]]
            break
        safe = len(held) - _overlap(held, stop)
        if safe:
            yield held[:safe]
            held = held[safe:]
    if held:
        yield held


def _whole_characters(tokens: Iterable[int], decode: Callable[[list[int]], str]) -> Iterator[str]:
    """Decode each token after the ones before it: some tokenizers drop the space before a first word."""
    context: list[int] = []  # tokens whose text has been given
    new: list[int] = []
    given = 0  # characters of decode(context + new) that have been given
    for token in tokens:
        new.append(token)
        text = decode(context + new)
        whole = text.removesuffix("\ufffd")  # a part of a character, of 1 to 3 bytes, shows as one of these
        yield whole[given:]
        if whole != text or len(text) == given:
            given = len(whole)
        else:
            context, new, given = new, [], len(decode(new))


def _overlap(text: str, stop: Collection[str]) -> int:
    """Length of the longest end of the text that begins a stop string."""
    return max((n for word in stop for n in range(1, len(word)) if text.endswith(word[:n])), default=0)
