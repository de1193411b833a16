"""Checkers for the exercises of the chapter on pretraining objectives."""

import math

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise
from lmbook.pretraining import IGNORE


def _pair(got, what: str) -> tuple:
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise WrongAnswer(f"return two things, {what}, got {type(got).__name__}")
    return tuple(got)


@exercise
def constant(answer) -> str:
    """``answer(p)`` is the loss and the accuracy of the best constant answer when a share p of the labels is 1."""
    for p in [0.5, 0.15, 0.9]:
        loss, accuracy = _pair(answer(p), "the loss and the accuracy")
        want = -p * math.log(p) - (1 - p) * math.log(1 - p)
        if math.isclose(loss, want / math.log(2)):
            raise WrongAnswer("that is the loss in bits; use the natural logarithm for nats")
        if p < 0.5 and math.isclose(accuracy, p):
            raise WrongAnswer("the best constant answer is the more frequent class, which need not be 1")
        compare(loss, want, f"the loss at p = {p}")
        compare(accuracy, max(p, 1 - p), f"the accuracy at p = {p}")
    return "the entropy of the share, and the share of the majority"


@exercise
def padded_targets(answer) -> str:
    """``answer(ids, pad_id)`` is the inputs and targets of causal modelling, IGNORE where the target is padding."""
    for ids, pad in [([[5, 6, 7, 8]], 0), ([[5, 6, 0, 0], [7, 8, 9, 0]], 0), ([[3, 4, 9, 9]], 9)]:
        ids = torch.tensor(ids)
        inputs, targets = _pair(answer(ids, pad), "inputs and targets")
        plain = ids[:, 1:]
        want = plain.masked_fill(plain == pad, IGNORE)
        if isinstance(targets, torch.Tensor) and targets.shape == want.shape and not torch.equal(targets, want):
            if torch.equal(targets, plain):
                raise WrongAnswer("padding is a target: put -100 wherever the target is pad_id")
            if torch.equal(targets, plain.masked_fill(ids[:, :-1] == pad, IGNORE)):
                raise WrongAnswer("you looked for padding in the inputs: the last real token has padding after it")
        compare(inputs, ids[:, :-1], "the inputs")
        compare(targets, want, f"the targets of {ids.tolist()}, pad_id {pad}")
    return "each token says the next one, and padding is never asked for"


@exercise
def mask_tokens(answer) -> str:
    """``answer(ids, chosen, fate, random_words, mask_id)`` applies BERT's 80/10/10 to given draws."""
    for seed, shape in enumerate([(1, 8), (4, 50), (16, 64)]):
        rng = torch.Generator().manual_seed(seed)
        ids, random_words = torch.randint(10, 100, (2, *shape), generator=rng)
        chance, fate = torch.rand(2, *shape, generator=rng)
        chosen, mask_id = chance < 0.5, 3
        inputs, targets = _pair(answer(ids, chosen, fate, random_words, mask_id), "inputs and targets")
        want = ids.clone()
        want[chosen & (fate < 0.9)] = mask_id
        want[chosen & (fate < 0.1)] = random_words[chosen & (fate < 0.1)]
        graded = ids.masked_fill(~chosen, IGNORE)
        if isinstance(targets, torch.Tensor) and targets.shape == ids.shape and not torch.equal(targets, graded):
            if torch.equal(targets, ids):
                raise WrongAnswer("every position is graded: the target is -100 where a token was not chosen")
            if torch.equal(targets, graded.masked_fill(fate >= 0.9, IGNORE)):
                raise WrongAnswer("tokens that were chosen and left in place must be graded too")
        compare(targets, graded, f"the targets of {shape}")
        compare(inputs, want, f"the inputs of {shape}")
    return "hidden, replaced or left in place, every chosen token is graded"


@exercise
def sentence_order(answer) -> str:
    """``answer(document, i, swap)`` is (A, B, label) of ALBERT's sentence-order prediction."""
    document = ["Ada codes", "she tests", "it works", "all rest"]
    for i in range(3):
        for swap in [False, True]:
            a, b = document[i], document[i + 1]
            got, want = answer(document, i, swap), (b, a, 1) if swap else (a, b, 0)
            case = f"i = {i}, swap = {swap}"
            if not isinstance(got, tuple | list) or len(got) != 3:
                raise WrongAnswer(f"{case}: return (A, B, label), got {type(got).__name__}")
            if tuple(got) == (*want[:2], 1 - want[2]):
                raise WrongAnswer("the labels are the wrong way round: 0 is in order, 1 is swapped")
            if swap and tuple(got[:2]) == (a, b):
                raise WrongAnswer("the sentences of a swapped pair must change places, not only its label")
            compare(list(got), list(want), case)
    return "the same two sentences in both classes, told apart by their order alone"


@exercise
def cut_spans(answer) -> str:
    """``answer(tokens, spans, sentinels)`` is the input and target of T5 for given spans."""
    cases = [([1, 2, 3], [(1, 2)]), (list(range(10)), [(0, 2), (5, 6)]), (list(range(12)), [(2, 5), (7, 9), (11, 12)])]
    for tokens, spans in cases:
        sentinels = [100, 101, 102, 103, 104]
        inputs, targets = _pair(answer(tokens, spans, sentinels), "inputs and targets")
        want_in, want_out, done = [], [], 0
        for sentinel, (start, end) in zip(sentinels, spans, strict=False):
            want_in += [*tokens[done:start], sentinel]
            want_out += [sentinel, *tokens[start:end]]
            done = end
        tail = tokens[done:]
        case = f"tokens {tokens}, spans {spans}"
        if tail and list(inputs) == want_in:
            raise WrongAnswer(f"{case}: the text behind the last span is missing from the inputs")
        if list(targets) == want_out:
            raise WrongAnswer(f"{case}: the target ends with one more sentinel")
        compare(list(inputs), want_in + tail, f"the inputs of {case}")
        compare(list(targets), want_out + [sentinels[len(spans)]], f"the targets of {case}")
    return "a sentinel for each gap, and the two halves make up the text"
