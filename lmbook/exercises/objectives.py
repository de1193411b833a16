"""Checkers for the exercises of the chapter on pretraining objectives."""

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise, near
from lmbook.pretraining import IGNORE


def _parts(got, n: int, what: str) -> tuple:
    if not isinstance(got, tuple | list | torch.Tensor) or len(got) != n:
        raise WrongAnswer(f"return {what}, got {type(got).__name__}")
    return tuple(got)


@exercise
def padded_targets(answer) -> str:
    """``answer(ids, pad_id)`` is the inputs and targets of causal modelling, IGNORE where the target is padding."""
    cases = [
        ([[5, 6, 7, 8]], 0),
        ([[5, 6, 0, 0], [7, 8, 9, 0]], 0),
        ([[3, 4, 9, 9]], 9),
        ([[0, 5, 6, 0, 0]], 0),
        ([[4, 1, 5, 1, 6], [4, 1, 1, 2, 1], [4, 1, 1, 1, 1]], 1),
    ]
    for rows, pad in cases:
        ids = torch.tensor(rows)
        inputs, targets = _parts(answer(ids, pad), 2, "two things, inputs and targets")
        plain = ids[:, 1:]
        real = (ids != pad).flip(1).cumsum(1).flip(1) > 0
        want = plain.masked_fill(~real[:, 1:], IGNORE)
        if not near(targets, want):
            if near(targets, plain):
                raise WrongAnswer("padding is a target: put -100 wherever the target is padding")
            if near(targets, plain.masked_fill(~real[:, :-1], IGNORE)):
                raise WrongAnswer("you looked for padding in the inputs: the last real token has padding after it")
            if near(targets, plain.masked_fill(plain == pad, IGNORE)):
                raise WrongAnswer(f"{rows}, pad_id {pad}: a pad_id with a real token behind it is text")
        compare(inputs, ids[:, :-1], "the inputs")
        compare(targets, want, f"the targets of {rows}, pad_id {pad}")
    return "each token says the next one, and padding is never asked for"


@exercise
def mask_tokens(answer) -> str:
    """``answer(ids, chosen, fate, random_words, mask_id)`` applies BERT's 80/10/10 to given draws."""
    for seed, shape in enumerate([(1, 8), (4, 50), (16, 64)]):
        rng = torch.Generator().manual_seed(seed)
        ids, random_words = torch.randint(10, 100, (2, *shape), generator=rng)
        chance, fate = torch.rand(2, *shape, generator=rng)
        chosen, mask_id = chance < 0.5, 3 + seed
        fate[0, :4] = torch.tensor([0.1, 0.9, 0.05, 0.95])  # the bounds themselves, too
        chosen[0, :4] = True
        args = (ids, chosen, fate, random_words, mask_id)
        inputs, targets = _parts(answer(*args), 2, "two things, inputs and targets")
        want = ids.masked_fill(chosen & (fate < 0.9), mask_id)
        want = torch.where(chosen & (fate < 0.1), random_words, want)
        graded = ids.masked_fill(~chosen, IGNORE)
        if near(targets, ids):
            raise WrongAnswer("every position is graded: the target is -100 where a token was not chosen")
        if near(targets, graded.masked_fill(fate >= 0.9, IGNORE)):
            raise WrongAnswer("tokens that were chosen and left in place must be graded too")
        compare(targets, graded, f"the targets of {shape}")
        if not near(inputs[0][0], want[0, 0]) and near(inputs[0][0], random_words[0, 0]):
            raise WrongAnswer("a fate of exactly 0.1 masks: the random word is for less than that")
        if not near(inputs[0][1], want[0, 1]) and near(inputs[0][1], mask_id):
            raise WrongAnswer("a fate of exactly 0.9 leaves the token in place")
        compare(inputs, want, f"the inputs of {shape}")
    return "hidden, replaced or left in place, every chosen token is graded"


@exercise
def sentence_order(answer) -> str:
    """``answer(documents)`` is the list of (A, B, label) of ALBERT's sentence-order prediction."""
    cases = [
        [["Ada codes", "she tests"]],
        [["Ada codes", "she tests", "it works", "all rest"], ["rain falls", "rivers rise"]],
        [["alone"], ["same", "same", "last"], []],
    ]
    for documents in cases:
        want = [
            example
            for document in documents
            for a, b in zip(document, document[1:], strict=False)
            for example in ((a, b, 0), (b, a, 1))
        ]
        got = answer(documents)
        got = list(got) if isinstance(got, tuple) or hasattr(got, "__next__") else got
        if not isinstance(got, list) or not all(isinstance(e, tuple | list) and len(e) == 3 for e in got):
            raise WrongAnswer("return a list of examples, each of them (A, B, label)")
        got = [tuple(example) for example in got]
        if got == [(a, b, 1 - label) for a, b, label in want]:
            raise WrongAnswer("the labels are the wrong way round: 0 is in order, 1 is swapped")
        if got == [(b, a, 1) if label else (a, b, 0) for a, b, label in want]:
            raise WrongAnswer("the sentences of a swapped pair must change places, not only its label")
        if got == want[::2]:
            raise WrongAnswer("only the pairs in order are there: each gives a second example, swapped")
        if len(got) > len(want):
            raise WrongAnswer(
                f"{documents} gives {len(want)} examples, got {len(got)}; "
                "only neighbours make a pair, and none crosses documents"
            )
        compare(got, want, f"{documents}")
    return "the same two sentences in both classes, told apart by their order alone"


@exercise
def fill_in_the_middle(answer) -> str:
    """``answer(tokens, start, end, marks)`` is (inputs, targets) with only the middle and its stop mark graded."""
    cases = [([1, 2, 3], 1, 2, (90, 91, 92, 93)), (list(range(10, 20)), 3, 7, (5, 6, 7, 8))]
    cases += [([4, 5, 6, 7], 0, 2, (90, 92, 91, 95)), ([4, 5, 6], 1, 3, (9, 8, 7, 6)), ([4, 5], 1, 1, (9, 8, 7, 6))]
    for tokens, start, end, marks in cases:
        given = [marks[0], *tokens[:start], marks[1], *tokens[end:], marks[2]]
        written = [*tokens[start:end], marks[3]]
        whole = given + written
        want = whole[:-1], [IGNORE] * (len(given) - 1) + written
        inputs, targets = _parts(answer(tokens, start, end, marks), 2, "two things, inputs and targets")
        case = f"tokens {tokens}, middle {start}:{end}, marks {marks}"
        if near(inputs, whole):
            raise WrongAnswer(f"{case}: not shifted; the last token is only ever a target")
        if near(targets, whole[1:]):
            raise WrongAnswer(f"{case}: every token is graded; only the middle and the stop mark should be")
        if near(targets, [*want[1][:-1], IGNORE]):
            raise WrongAnswer(f"{case}: the stop mark is graded too, or the model never learns to stop")
        compare(list(inputs), want[0], f"the inputs of {case}")
        compare(list(targets), want[1], f"the targets of {case}")
    return "the past of the middle holds what comes after it"


@exercise
def cut_spans(answer) -> str:
    """``answer(tokens, spans, sentinels)`` is the input and target of T5 for given spans."""
    cases = [([1, 2, 3, 4], [(1, 2)]), (list(range(10)), [(0, 2), (5, 6)])]
    cases += [(list(range(12)), [(2, 5), (7, 9), (11, 12)]), ([4, 5], [])]
    for (tokens, spans), first in [(case, first) for first in (100, 109) for case in cases]:
        sentinels = list(range(first, 105)) or list(range(first, 104, -1))
        want_in, want_out, done = [], [], 0
        for sentinel, (start, end) in zip(sentinels, spans, strict=False):
            want_in += [*tokens[done:start], sentinel]
            want_out += [sentinel, *tokens[start:end]]
            done = end
        tail, last = tokens[done:], sentinels[len(spans)]
        inputs, targets = _parts(answer(tokens, spans, sentinels), 2, "two things, inputs and targets")
        inputs, targets = list(inputs), list(targets)
        case = f"tokens {tokens}, spans {spans}, sentinels {sentinels}"
        if tail and near(inputs, want_in) and want_in:
            raise WrongAnswer(f"{case}: the text behind the last span is missing from the inputs")
        if near(targets, want_out) and want_out:
            raise WrongAnswer(f"{case}: the target ends with one more sentinel")
        compare(inputs, want_in + tail, f"the inputs of {case}")
        compare(targets, [*want_out, last], f"the targets of {case}")
    return "a sentinel for each gap, and the two halves make up the text"


@exercise
def hide_more(answer) -> str:
    """(best, reached) in nats a gap, where 60 % of the chapter's small language is hidden."""
    best, reached = (float(part) for part in _parts(answer, 2, "two numbers, (best, reached)"))
    if abs(best - BEST[0.15]) < 0.04:
        raise WrongAnswer(f"{best:.3f} is the best loss at 15 %: hide 60 % of the tokens")
    compare(best, BEST[0.6], "the best loss at 60 %", atol=0.035)
    if reached < best - 0.01:
        raise WrongAnswer(f"{reached:.3f} is better than the best, {best:.3f}: are both of the same texts?")
    if not reached <= best + 0.25:
        raise WrongAnswer(f"{reached:.3f} is far above {best:.3f}: has it trained for 500 steps, at a peak of 3e-3?")
    return f"{best:.2f} is the best, {reached:.2f} was reached: less to see, more to learn from"


BEST = {0.15: 0.72, 0.6: 0.865}  # nats a gap, of 80,000 texts by Bayes' rule
