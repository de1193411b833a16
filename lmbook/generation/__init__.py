"""From a model's logits to text."""

from lmbook.generation.batch import generate_batch, left_pad
from lmbook.generation.beam import Hypothesis, beam_search
from lmbook.generation.decoding import generate
from lmbook.generation.filters import min_p, repetition_penalty, top_k, top_p
from lmbook.generation.sampling import distribution, sample
from lmbook.generation.speculative import speculative
from lmbook.generation.streaming import stream_text

__all__ = [
    "Hypothesis",
    "beam_search",
    "distribution",
    "generate",
    "generate_batch",
    "left_pad",
    "min_p",
    "repetition_penalty",
    "sample",
    "speculative",
    "stream_text",
    "top_k",
    "top_p",
]
