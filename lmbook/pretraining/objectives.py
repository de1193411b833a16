"""Pretraining objectives: each maps tokens to what the model sees and what it must say, (inputs, targets).

Targets are ids, and `IGNORE` where the loss does not look. No objective changes the tokens that it is given.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from lmbook._checks import (
    check_float,
    check_fraction,
    check_ids,
    check_integers,
    check_mask,
    check_positive,
    check_range,
)

IGNORE = -100  #: A target that the loss leaves out.


def loss(logits: Float[Tensor, "*batch V"], targets: Int[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats over the targets that are not IGNORE, in at least float32; 0 where all are.

    Source: Radford et al. 2018 (GPT), eq. 1, divided by the number of targets. Book: language-models, objectives.
    """
    counted = _check_targets(logits, targets, logits.shape[:-1], logits.shape[-1])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(logits.flatten(0, -2), targets.flatten().long(), ignore_index=IGNORE, reduction="sum")
    return total / counted.sum().clamp(min=1)


def causal_lm(
    tokens: Int[Tensor, "B T"], *, mask: Bool[Tensor, "B T"] | None = None, generator: Generator | None = None
) -> tuple[Int[Tensor, "B T-1"], Int[Tensor, "B T-1"]]:
    """Each token is the target of the one before it. Nothing is random: the generator is not used.

    Args:
        mask: True where a token is real; padding is no target, and has none.

    Source: Radford et al. 2018 (GPT), sec. 3.1. Book: objectives.
    """
    check_tokens(tokens, least=2)
    targets = tokens[:, 1:]
    if mask is not None:
        check_mask(mask, tokens.shape)
        targets = targets.where(mask[:, :-1] & mask[:, 1:], IGNORE)
    return tokens[:, :-1], targets


def masked_lm(
    tokens: Int[Tensor, "B T"],
    *,
    vocab_size: int,
    mask_id: int,
    special_ids: Sequence[int] = (),
    rate: float = 0.15,
    random: float = 0.1,
    keep: float = 0.1,
    generator: Generator | None = None,
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """A share of the tokens becomes the target; most of these are hidden from the model behind the mask token.

    Args:
        special_ids: tokens that are never chosen ([CLS], [SEP], padding).
        rate: share of the other tokens that are chosen, each by itself. The published code of BERT chooses exactly
            this share of every sequence; here the number varies, as in transformers.
        random: share of the chosen tokens that are replaced by a token drawn from the whole vocabulary.
        keep: share of the chosen tokens that stay as they are. ELECTRA has random=0.0, keep=0.0 (its
            published code has keep=0.15).

    Source: Devlin et al. 2019 (BERT), sec. 3.1 and appendix A.1. Book: objectives.
    """
    check_positive(vocab_size=vocab_size)
    check_ids(tokens, vocab_size, name="tokens")
    check_fraction(rate=rate)
    if min(random, keep) < 0 or random + keep > 1:
        raise ValueError(f"random and keep must be shares of at most 1 together, got {random} and {keep}")
    if not 0 <= mask_id < vocab_size:
        raise ValueError(f"mask_id must be in [0, {vocab_size}), got {mask_id}")
    chosen, fate = torch.rand(2, *tokens.shape, generator=generator, device=tokens.device)
    special = torch.isin(tokens, torch.tensor(list(special_ids), dtype=tokens.dtype, device=tokens.device))
    chosen = (chosen < rate) & ~special
    words = torch.randint(vocab_size, tokens.shape, generator=generator, device=tokens.device, dtype=tokens.dtype)
    replaced = words.where(fate < random, mask_id)
    return replaced.where(chosen & (fate < 1 - keep), tokens), tokens.where(chosen, IGNORE)


def sentence_pairs(
    documents: Sequence[Sequence[Sequence[int]]],
    n_pairs: int,
    *,
    max_len: int,
    cls_id: int,
    sep_id: int,
    pad_id: int,
    generator: Generator | None = None,
) -> tuple[dict[str, Tensor], Int[Tensor, "B"]]:
    """Pairs of sentences, of which half follow each other (0) and half come from two documents (1).

    The inputs are the keyword arguments of ``BERT.next_sentence``: ids ([CLS] A [SEP] B [SEP] and padding up to
    max_len), segments (0 up to the first [SEP], then 1) and mask. A pair that is too long loses tokens from the end
    of its longer sentence; the published code takes them from either end.

    Args:
        documents: documents made of sentences made of token ids.

    Source: Devlin et al. 2019 (BERT), sec. 3.1, task 2, and appendix A.1. Book: objectives.
    """
    check_positive(n_pairs=n_pairs, max_len=max_len)
    if max_len < 5:
        raise ValueError(f"max_len must be at least 5 (three special tokens, two sentences), got {max_len}")
    firsts = [(d, s) for d, document in enumerate(documents) for s in range(len(document) - 1)]
    if (
        not firsts
        or len(documents) < 2
        or not all(len(text) for document in documents for text in [document, *document])
    ):
        raise ValueError("documents must be at least two, none empty, one of two sentences, and no sentence empty")

    def draw(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    ids = torch.full((n_pairs, max_len), pad_id)
    segments, labels = torch.zeros_like(ids), torch.zeros(n_pairs, dtype=torch.long)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row in range(n_pairs):
        document, sentence = firsts[draw(len(firsts))]
        a, b = (list(documents[document][s]) for s in (sentence, sentence + 1))
        labels[row] = draw(2)
        if labels[row]:
            other = documents[(document + 1 + draw(len(documents) - 1)) % len(documents)]
            b = list(other[draw(len(other))])
        while len(a) + len(b) > max_len - 3:
            (a if len(a) > len(b) else b).pop()
        pair = [cls_id, *a, sep_id, *b, sep_id]
        ids[row, : len(pair)] = torch.tensor(pair)
        segments[row, len(a) + 2 : len(pair)] = 1
        mask[row, : len(pair)] = True
    return {"ids": ids, "segments": segments, "mask": mask}, labels


def replace_tokens(
    tokens: Int[Tensor, "B T"],
    masked_targets: Int[Tensor, "B T"],
    logits: Float[Tensor, "B T V"],
    *,
    mask: Bool[Tensor, "B T"] | None = None,
    generator: Generator | None = None,
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """The tokens with samples of a generator where they were masked, and whether each one is another (1) or not (0).

    A sample that happens to be the right token counts as the original. No gradient flows back through the samples.

    Args:
        masked_targets: targets of `masked_lm`, IGNORE where a token was not chosen.
        logits: what the generator, a masked language model, said at every position.
        mask: True where a token is real; padding has no label.

    Source: Clark et al. 2020 (ELECTRA), sec. 2. Book: objectives.
    """
    check_tokens(tokens)
    chosen = _check_targets(logits, masked_targets, tokens.shape, logits.shape[-1], name="masked_targets")
    samples = tokens.clone()
    if chosen.any():
        shares = logits.detach()[chosen].to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)
        samples[chosen] = torch.multinomial(shares, 1, generator=generator)[:, 0].to(tokens.dtype)
    labels = (samples != tokens).to(tokens.dtype)
    if mask is not None:
        check_mask(mask, tokens.shape)
        labels = labels.where(mask, IGNORE)
    return samples, labels


def replaced_token_loss(logits: Float[Tensor, "B T"], targets: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Mean binary cross-entropy of the discriminator, over all tokens that are not IGNORE, in at least float32.

    ELECTRA trains both models on the sum of the generator's `loss` and 50 times this one.

    Source: Clark et al. 2020 (ELECTRA), sec. 2. Book: objectives.
    """
    counted = _check_targets(logits, targets, logits.shape, 2)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).where(counted, 0)
    terms = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    return terms.where(counted, 0).sum() / counted.sum().clamp(min=1)


def check_tokens(tokens: Tensor, *, least: int = 1, name: str = "tokens") -> None:
    """Refuse what is not a batch of ids of some length."""
    check_integers(tokens, name=name)
    if tokens.ndim != 2 or tokens.shape[0] < 1 or tokens.shape[1] < least:
        raise ValueError(f"{name} must be (batch, at least {least} tokens), got shape {tuple(tokens.shape)}")


def _check_targets(
    logits: Tensor, targets: Tensor, shape: Sequence[int], limit: int, *, name: str = "targets"
) -> Tensor:
    """Where the targets are not IGNORE, after a check of their type, shape and range."""
    check_float(logits=logits)
    check_integers(targets, name=name)
    if tuple(targets.shape) != tuple(shape) or logits.shape[: targets.ndim] != targets.shape or not targets.numel():
        raise ValueError(
            f"{name} must be one for each position, got {tuple(targets.shape)} for logits {tuple(logits.shape)}"
        )
    counted = targets != IGNORE
    check_range(targets.where(counted, 0), limit, name=name)
    return counted
