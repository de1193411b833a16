"""From a model's logits to text."""

from lmbook.generation.decoding import generate

__all__ = ["generate"]
