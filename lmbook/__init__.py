"""Code that the chapters of the book import: small, plain PyTorch, read as part of the text."""

__version__ = "0.1.0"
