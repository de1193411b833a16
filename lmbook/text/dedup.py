"""Copies and near-copies in a collection: shingles, MinHash, and bands that spare the comparison of all pairs.

Source: Broder 1997, "On the resemblance and containment of documents"; Leskovec, Rajaraman and Ullman 2020, "Mining of
Massive Datasets", ch. 3.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence, Set
from itertools import combinations

import numpy as np
import torch
from torch import Generator

from lmbook._checks import check_divides, check_positive


def shingles(text: str, *, width: int = 9) -> set[str]:
    """All runs of width characters in a text, white space counted as one blank; a shorter text is one shingle.

    Source: Leskovec et al., sec. 3.2.1-3.2.2. Book: text-to-tokens.
    """
    check_positive(width=width)
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    text = " ".join(text.split())
    return {text[start : start + width] for start in range(max(1, len(text) - width + 1))}


def jaccard(a: Set, b: Set) -> float:
    """The share of two sets that is common to both; 1 for two empty sets.

    Source: Broder 1997, sec. 2 ("resemblance"). Book: text-to-tokens.
    """
    if not isinstance(a, Set) or not isinstance(b, Set):
        raise TypeError(f"a and b must be sets, got {type(a).__name__} and {type(b).__name__}")
    return len(a & b) / len(a | b) if a or b else 1.0


def minhash(
    texts: Sequence[str], *, n_hashes: int = 128, width: int = 9, generator: Generator | None = None
) -> np.ndarray:
    """The signature of each text: under each of n_hashes random hash functions, the least hash of its shingles.

    Returns an array of shape (texts, n_hashes) in uint32.

    The share of equal places in two signatures estimates their Jaccard similarity s without bias, with variance
    s (1 - s) / n_hashes. Permutations are replaced by hash functions (a x + b) mod 2**64, of which the upper 32 bits
    count (multiply-shift, Dietzfelbinger 1996), over the CRC-32 of a shingle.

    Source: Leskovec et al., sec. 3.3. Book: text-to-tokens.
    """
    _check_texts(texts)
    check_positive(n_hashes=n_hashes)
    drawn = torch.randint(-(2**63), 2**63 - 1, (2, n_hashes, 1), generator=generator)
    a, b = drawn.numpy().view(np.uint64)
    signatures = np.empty((len(texts), n_hashes), dtype=np.uint32)
    for row, text in zip(signatures, texts, strict=True):
        hashes = [zlib.crc32(shingle.encode("utf-8", "surrogatepass")) for shingle in shingles(text, width=width)]
        row[:] = (a * np.array(hashes, dtype=np.uint64) + b >> np.uint64(32)).min(axis=1)
    return signatures


def candidate_pairs(signatures: np.ndarray, *, bands: int = 32) -> set[tuple[int, int]]:
    """Pairs of rows i < j that agree in the whole of at least one band of columns.

    With r = n_hashes / bands columns in a band, a pair of similarity s is found with probability
    ``1 - (1 - s**r)**bands``.

    Source: Leskovec et al., sec. 3.4. Book: text-to-tokens.
    """
    check_positive(bands=bands)
    if not isinstance(signatures, np.ndarray) or signatures.ndim != 2:
        raise TypeError(f"signatures must be an array with two axes, got {type(signatures).__name__}")
    check_divides(n_hashes=signatures.shape[1], bands=bands)
    found = set()
    for band in np.split(signatures, bands, axis=1):
        buckets = defaultdict(list)
        for row, values in enumerate(band):
            buckets[values.tobytes()].append(row)
        for rows in buckets.values():
            found.update(combinations(rows, 2))
    return found


def near_duplicates(
    texts: Sequence[str],
    *,
    threshold: float = 0.8,
    width: int = 9,
    n_hashes: int = 128,
    bands: int = 32,
    generator: Generator | None = None,
) -> list[tuple[int, int, float]]:
    """Pairs of texts i < j whose shingles have a Jaccard similarity of at least threshold, in order, with it.

    Only candidates are compared, but exactly: no pair is wrong, and one is missed with the probability that
    `candidate_pairs` states, 5e-8 at a similarity of 0.8 with these defaults.

    Book: text-to-tokens.
    """
    if not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a number in (0, 1], got {threshold!r}")
    signatures = minhash(texts, n_hashes=n_hashes, width=width, generator=generator)
    pairs = sorted(candidate_pairs(signatures, bands=bands))
    sets = {i: shingles(texts[i], width=width) for i in {i for pair in pairs for i in pair}}
    compared = ((i, j, jaccard(sets[i], sets[j])) for i, j in pairs)
    return [(i, j, similarity) for i, j, similarity in compared if similarity >= threshold]


def exact_unique(texts: Sequence[str]) -> list[int]:
    """Where each different text stands for the first time.

    Book: text-to-tokens.
    """
    _check_texts(texts)
    first = {}
    for i, text in enumerate(texts):
        first.setdefault(text, i)
    return list(first.values())


def near_unique(texts: Sequence[str], **options) -> list[int]:
    """Where the texts stand that have no near-duplicate among those kept before them; options of `near_duplicates`.

    Book: text-to-tokens.
    """
    first = exact_unique(texts)  # a text with a thousand copies would make half a million pairs
    earlier = defaultdict(list)
    for i, j, _ in near_duplicates([texts[i] for i in first], **options):
        earlier[j].append(i)
    kept = set()
    for i in range(len(first)):
        if kept.isdisjoint(earlier[i]):
            kept.add(i)
    return [first[i] for i in sorted(kept)]


def _check_texts(texts) -> None:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"texts must be a sequence of strings, got {texts!r:.60}")
