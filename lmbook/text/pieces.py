"""What comes before byte-pair encoding: cutting text into pieces, and writing bytes as printable characters.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", sec. 2.2, and its published code.
"""

import regex

# No token may cross the border of a piece: a word with the space before it, a number, signs, white space.
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The same, after every digit was cut off by itself: a digit then ends white space as the end of the text does.
SMOLLM2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"

# GPT-2 writes each byte as a printable character, so that a token such as b" the" can stand in a text file: "Ġthe".
# The order of this table is also the order of the first 256 ids.
_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_TO_CHAR = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + n) for n, byte in enumerate(_OTHERS)}
CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}


def to_printable(token: bytes) -> str:
    """A token as GPT-2's files write it: b" the" becomes "Ġthe"."""
    return "".join(BYTE_TO_CHAR[byte] for byte in token)


def from_printable(token: str) -> bytes:
    """The bytes of a token as GPT-2's files write it; a ValueError if it is not written so."""
    try:
        return bytes(CHAR_TO_BYTE[char] for char in token)
    except KeyError as error:
        raise ValueError(f"token {token!r} holds {error.args[0]!r}, which stands for no byte") from None


def compile_pattern(pattern: str) -> regex.Pattern:
    """The pattern as one group: its `split` gives what matched and what lay between, so that no text is lost.

    Raises:
        ValueError: the pattern is no regular expression, or holds a capturing group.
    """
    try:
        compiled = regex.compile(f"({pattern})")
    except regex.error as error:
        raise ValueError(f"pattern is not a regular expression ({error}): {pattern!r}") from None
    if compiled.groups != 1:
        raise ValueError(f"pattern may hold no capturing group, write (?:...) instead: {pattern!r}")
    return compiled


def utf8(piece: str) -> bytes:
    """The UTF-8 bytes of a piece; a ValueError if a lone surrogate in it has none."""
    try:
        return piece.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text holds the lone surrogate {piece[error.start]!r}, which has no UTF-8 bytes") from None
