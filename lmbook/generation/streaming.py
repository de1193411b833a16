"""Text from a stream of tokens, as soon as it is certain."""

from collections.abc import Callable, Collection, Iterable, Iterator


def stream_text(tokens: Iterable[int], decode: Callable[[list[int]], str], stop: Collection[str] = ()) -> Iterator[str]:
    """Yield the text of tokens piece by piece, in whole characters, and end before the first stop string.

    Text is held back as long as it may be the beginning of a stop string or ends in a
    part of a character. When the tokens end, what is left comes as decode shows it, so
    that the pieces together are the text of all tokens.

    Args:
        tokens: read one by one, and no further than the token that completes a stop string.
        decode: gives the text of a list of ids, with "\\ufffd" for a part of a
            character, or for each byte of it: ``BPE.decode`` does the one, tokenizers
            that fall back on bytes (Llama 2, Gemma) do the other.
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
    given, text = 0, ""  # characters of decode(context + new) that have been given; and all of them
    for token in tokens:
        new.append(token)
        text = decode(context + new)
        certain = len(text.rstrip("\ufffd"))  # what follows may turn these signs into a character
        if certain > given:
            yield text[given:certain]
            given = certain
            if certain == len(text):
                context, new, text = new, [], decode(new)
                given = len(text)
    yield text[given:]


def _overlap(text: str, stop: Collection[str]) -> int:
    """Length of the longest end of the text that begins a stop string."""
    return max((n for word in stop for n in range(1, len(word)) if text.endswith(word[:n])), default=0)
