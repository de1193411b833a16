"""Text and tokens: real text to learn from, and byte-pair encoding."""

from lmbook.text.bpe import BPE
from lmbook.text.pieces import GPT2_PATTERN, SMOLLM2_PATTERN

__all__ = ["BPE", "GPT2_PATTERN", "SMOLLM2_PATTERN"]
