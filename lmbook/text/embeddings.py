"""Vectors of words from the words around them: skip-gram with negative sampling, and GloVe."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmbook._checks import check_above_zero, check_float, check_integers, check_positive, check_range


def skip_gram_pairs(ids: Int[Tensor, "T"], window: int) -> tuple[Int[Tensor, "B"], Int[Tensor, "B"]]:
    """Each word with each of the words at most window before or after it: (centres, contexts).

    The published code draws a smaller window for each word, which takes distant words less often; here all pairs are
    given.

    Source: Mikolov et al. 2013 (Distributed Representations), eq. 1. Book: word-embeddings.
    """
    check_positive(window=window)
    _check_text(ids)
    distances = range(1, min(window, len(ids) - 1) + 1)
    before, after = torch.cat([ids[:-d] for d in distances]), torch.cat([ids[d:] for d in distances])
    return torch.cat([before, after]), torch.cat([after, before])


def noise_distribution(counts: Tensor, *, power: float = 0.75) -> Float[Tensor, "V"]:
    """Probability of each word to be drawn as a negative example, from how often it occurs.

    Source: Mikolov et al. 2013, sec. 2.2. Book: word-embeddings.
    """
    if not isinstance(counts, Tensor) or counts.ndim != 1 or not (counts >= 0).all() or not counts.any():
        raise ValueError(f"counts must be a tensor (V,) of numbers of at least 0, not all 0, got {counts!r:.60}")
    weights = torch.where(counts > 0, counts.double() ** power, 0.0)  # a word that never occurs is never drawn
    return weights / weights.sum()


def negative_sampling_loss(
    centres: Float[Tensor, "B D"], contexts: Float[Tensor, "B D"], negatives: Float[Tensor, "B N D"]
) -> Float[Tensor, ""]:
    """Minus the objective that tells a true context from drawn ones, in nats, mean over the pairs.

    Args:
        centres: input vectors of the centre words.
        contexts, negatives: output vectors of the words near them, and of N drawn from `noise_distribution` for each.

    Source: Mikolov et al. 2013, eq. 4. Book: word-embeddings.
    """
    check_float(centres=centres, contexts=contexts, negatives=negatives)
    if centres.ndim != 2 or contexts.shape != centres.shape or negatives.shape[::2] != centres.shape:
        shapes = ", ".join(str(tuple(vectors.shape)) for vectors in (centres, contexts, negatives))
        raise ValueError(f"centres, contexts and negatives must be (B, D), (B, D) and (B, N, D), got {shapes}")
    near = F.logsigmoid((centres * contexts).sum(-1))
    far = F.logsigmoid(-(centres.unsqueeze(1) * negatives).sum(-1)).sum(-1)
    return -(near + far).mean()


def cooccurrences(ids: Int[Tensor, "T"], vocab_size: int, *, window: int = 10) -> Float[Tensor, "V V"]:
    """How often each word stands near each other word, in float64; at a distance of d words it counts 1 / d.

    Source: Pennington et al. 2014 (GloVe), sec. 4.2. Book: word-embeddings.
    """
    check_positive(vocab_size=vocab_size, window=window)
    _check_text(ids)
    check_range(ids, vocab_size)
    counts = torch.zeros(vocab_size * vocab_size, dtype=torch.float64, device=ids.device)
    for distance in range(1, min(window, len(ids) - 1) + 1):
        cells = ids[:-distance].long() * vocab_size + ids[distance:]
        counts += torch.bincount(cells, minlength=len(counts)).double() / distance
    counts = counts.view(vocab_size, vocab_size)
    return counts + counts.T


def glove_loss(
    words: Float[Tensor, "B D"],
    contexts: Float[Tensor, "B D"],
    word_biases: Float[Tensor, "B"],
    context_biases: Float[Tensor, "B"],
    counts: Float[Tensor, "B"],
    *,
    x_max: float = 100.0,
    alpha: float = 0.75,
) -> Float[Tensor, ""]:
    """Weighted squared error of ``w c + b_w + b_c`` against the logarithm of a co-occurrence, summed over the pairs.

    Args:
        counts: co-occurrences of the pairs, above 0: the pairs that never occur have weight 0 and are left out.

    Source: Pennington et al. 2014, eq. 8 and 9. Book: word-embeddings.
    """
    check_float(words=words, contexts=contexts, word_biases=word_biases, context_biases=context_biases, counts=counts)
    check_above_zero(x_max=x_max, alpha=alpha)
    shapes = [tuple(t.shape) for t in (words, contexts, word_biases, context_biases, counts)]
    if words.ndim != 2 or shapes[1:] != [shapes[0], *[shapes[0][:1]] * 3]:
        raise ValueError(f"words, contexts, both biases and counts must be (B, D) twice and (B,) thrice, got {shapes}")
    if not (counts > 0).all():
        raise ValueError(f"counts must be above 0, got {counts.min()}")
    weights = (counts / x_max).clamp(max=1.0) ** alpha
    errors = (words * contexts).sum(-1) + word_biases + context_biases - counts.log()
    return (weights * errors**2).sum()


class SkipGram(nn.Module):
    """Two tables of vectors whose dot product scores how well a word and a context fit.

    Attributes:
        words: vectors of the words as centres, the ones that are kept; small random numbers at first.
        contexts: vectors of the words as contexts; zeros at first, as in the authors' program.

    Source: Mikolov et al. 2013, sec. 2.2. Book: word-embeddings.
    """

    def __init__(self, vocab_size: int, d_model: int):
        super().__init__()
        check_positive(vocab_size=vocab_size, d_model=d_model)
        self.words, self.contexts = nn.Embedding(vocab_size, d_model), nn.Embedding(vocab_size, d_model)
        nn.init.uniform_(self.words.weight, -0.5 / d_model, 0.5 / d_model)
        nn.init.zeros_(self.contexts.weight)

    def forward(self, centres: Int[Tensor, "B"], contexts: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
        """Log-odds that the pair comes from the text and not from the noise."""
        return (self.words(centres) * self.contexts(contexts)).sum(-1)

    def loss(
        self, centres: Int[Tensor, "B"], contexts: Int[Tensor, "B"], negatives: Int[Tensor, "B N"]
    ) -> Float[Tensor, ""]:
        return negative_sampling_loss(self.words(centres), self.contexts(contexts), self.contexts(negatives))


class GloVe(nn.Module):
    """Two tables of vectors and biases that give the logarithm of how often two words stand near each other.

    Attributes:
        words, contexts: the two tables; their roles are alike, and their sum is what is used afterwards.
        word_biases, context_biases: a number for each word.

    Source: Pennington et al. 2014, eq. 7. Book: word-embeddings.
    """

    def __init__(self, vocab_size: int, d_model: int):
        super().__init__()
        check_positive(vocab_size=vocab_size, d_model=d_model)
        self.words, self.contexts = nn.Embedding(vocab_size, d_model), nn.Embedding(vocab_size, d_model)
        for table in (self.words, self.contexts):
            nn.init.uniform_(table.weight, -0.5 / d_model, 0.5 / d_model)
        self.word_biases = nn.Parameter(torch.zeros(vocab_size))
        self.context_biases = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, words: Int[Tensor, "B"], contexts: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
        dots = (self.words(words) * self.contexts(contexts)).sum(-1)
        return dots + self.word_biases[words] + self.context_biases[contexts]

    def loss(
        self, words: Int[Tensor, "B"], contexts: Int[Tensor, "B"], counts: Float[Tensor, "B"], *, x_max: float = 100.0
    ) -> Float[Tensor, ""]:
        """The `glove_loss` of some pairs, as their mean."""
        vectors = self.words(words), self.contexts(contexts)
        biases = self.word_biases[words], self.context_biases[contexts]
        return glove_loss(*vectors, *biases, counts, x_max=x_max) / len(counts)


def _check_text(ids: Tensor) -> None:
    check_integers(ids)
    if ids.ndim != 1 or len(ids) < 2:
        raise ValueError(f"ids must be (tokens,) with at least 2 of them, got shape {tuple(ids.shape)}")
