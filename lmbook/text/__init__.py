"""Text and tokens: real text to learn from, byte-pair encoding, n-grams, duplicates, batches and word vectors."""

from lmbook.text.bpe import BPE
from lmbook.text.dedup import candidate_pairs, exact_unique, jaccard, minhash, near_duplicates, near_unique, shingles
from lmbook.text.embeddings import (
    GloVe,
    SkipGram,
    cooccurrences,
    glove_loss,
    negative_sampling_loss,
    noise_distribution,
    skip_gram_pairs,
)
from lmbook.text.kneser_ney import KneserNey
from lmbook.text.ngram import UNK, InterpolatedNGram, NGram, bits_per_byte, perplexity
from lmbook.text.packing import length_buckets, pack, pad, read_documents
from lmbook.text.pieces import GPT2_PATTERN, SMOLLM2_PATTERN

__all__ = [
    "BPE", "GPT2_PATTERN", "SMOLLM2_PATTERN", "UNK", "GloVe", "InterpolatedNGram", "KneserNey", "NGram", "SkipGram",
    "bits_per_byte", "candidate_pairs", "cooccurrences", "exact_unique", "glove_loss", "jaccard", "length_buckets",
    "minhash", "near_duplicates", "near_unique", "negative_sampling_loss", "noise_distribution", "pack", "pad",
    "perplexity", "read_documents", "shingles", "skip_gram_pairs",
]  # fmt: skip
