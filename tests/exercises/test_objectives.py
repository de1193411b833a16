"""The exercises of the chapter on pretraining objectives, four ways."""

from itertools import combinations

import numpy as np
import pytest
import torch

from lmbook.exercises import objectives as check


def stub(*args): ...


def padded(ids, pad_id, *, shift=1):
    real = (ids != pad_id).flip(1).cumsum(1).flip(1) > 0
    return ids[:, :-1], ids[:, 1:].masked_fill(~(real[:, 1:] if shift else real[:, :-1]), -100)


def padded_by_loop(ids, pad_id):
    inputs, targets = [], []
    for row in ids.tolist():
        end = len(row)
        while end and row[end - 1] == pad_id:
            end -= 1
        inputs.append(row[:-1])
        targets.append([row[t] if t < end else -100 for t in range(1, len(row))])
    return inputs, targets


def from_the_first_pad(ids, pad_id):
    return ids[:, :-1], ids[:, 1:].masked_fill((ids == pad_id).cumsum(1)[:, 1:] > 0, -100)


def mask(ids, chosen, fate, words, mask_id, *, random=0.1, low=torch.lt, high=torch.lt):
    hidden = torch.where(low(fate, random), words, mask_id)
    return torch.where(chosen & high(fate, 0.9), hidden, ids), torch.where(chosen, ids, -100)


def mask_in_place(ids, chosen, fate, words, mask_id):
    targets = ids.clone().numpy()
    targets[~chosen.numpy()] = -100
    ids[chosen & (fate < 0.9)] = mask_id
    ids[chosen & (fate < 0.1)] = words[chosen & (fate < 0.1)]
    return [ids, targets]


def order(documents, *, label=1, swap=True, both=True):
    found = []
    for document in documents:
        for i in range(len(document) - 1):
            a, b = document[i], document[i + 1]
            found.append((a, b, 1 - label))
            if both:
                found.append((b, a, label) if swap else (a, b, label))
    return found


def order_by_popping(documents):
    while documents:
        document = documents.pop(0)
        while len(document) > 1:
            a = document.pop(0)
            yield [a, document[0], 0]
            yield [document[0], a, 1]


def all_pairs(documents):
    pairs = [pair for document in documents for pair in combinations(document, 2)]
    return [example for a, b in pairs for example in ((a, b, 0), (b, a, 1))]


def across(documents):
    return order([[sentence for document in documents for sentence in document]])


def middle(tokens, start, end, marks, *, shift=True, graded=True, stop=True, spm=False):
    parts = [tokens[:start], tokens[end:]]
    given = [marks[0], *parts[spm], marks[1], *parts[1 - spm], marks[2]]
    whole = [*given, *tokens[start:end], marks[3]]
    targets = [-100 if graded and t < len(given) else token for t, token in enumerate(whole)][1:]
    return (whole[:-1] if shift else whole), (targets if stop else [*targets[:-1], -100])


def middle_by_popping(tokens, start, end, marks):
    cut = [tokens.pop(start) for _ in range(end - start)]
    inputs = [marks[0]] + tokens[:start] + [marks[1]] + tokens[start:] + [marks[2]] + cut
    targets = np.full(len(inputs), -100)
    targets[len(inputs) - len(cut) - 1 :] = [*cut, marks[3]]
    return np.array(inputs), targets


def cut(tokens, spans, sentinels, *, tail=True, last=True, end=0):
    inputs, targets, done = [], [], 0
    for sentinel, (start, stop) in zip(sentinels, spans, strict=False):
        inputs += tokens[done:start] + [sentinel]
        targets += [sentinel] + tokens[start : stop + end]
        done = stop + end
    return inputs + tokens[done:] * tail, targets + sentinels[len(spans) : len(spans) + 1] * last


def cut_by_popping(tokens, spans, sentinels):
    inputs, targets, done = [], [], 0
    for start, end in spans:
        sentinel = sentinels.pop(0)
        inputs += tokens[done:start] + [sentinel]
        targets += [sentinel] + tokens[start:end]
        done = end
    return inputs + tokens[done:], targets + [sentinels.pop(0)]


def cut_from_behind(tokens, spans, sentinels):
    targets = [sentinels[len(spans)]]
    for sentinel, (start, end) in reversed(list(zip(sentinels, spans, strict=False))):
        targets = [sentinel, *tokens[start:end], *targets]
        tokens[start:end] = [sentinel]
    return torch.tensor(tokens), torch.tensor(targets)


def counted_up(tokens, spans, sentinels):
    return cut(tokens, spans, list(range(sentinels[0], sentinels[0] + 9)))


TABLE = [
    (
        check.padded_targets,
        {
            "stub": stub,
            "reference": padded,
            "right": [padded_by_loop, lambda ids, pad: [part.numpy() for part in padded(ids, pad)]],
            "wrong": [
                (lambda ids, pad: (ids[:, :-1], ids[:, 1:]), "padding is a target"),
                (lambda ids, pad: padded(ids, pad, shift=0), "in the inputs"),
                (lambda ids, pad: (ids, ids), "expected shape"),
                (lambda ids, pad: (ids[:, :-1], ids[:, 1:].masked_fill(ids[:, 1:] == pad, -100)), "behind it is text"),
                (from_the_first_pad, "the targets of"),
                (lambda ids, pad: ids[:1, 1:], "return two things"),
            ],
        },
    ),
    (
        check.mask_tokens,
        {
            "stub": stub,
            "reference": mask,
            "right": [mask_in_place, lambda *all: [part.numpy() for part in mask(*all)]],
            "wrong": [
                (lambda ids, *more: (mask(ids, *more)[0], ids), "every position is graded"),
                (
                    lambda ids, c, f, w, m: (mask(ids, c, f, w, m)[0], torch.where(c & (f < 0.9), ids, -100)),
                    "left in place must be graded",
                ),
                (lambda *all: mask(*all, random=0.0), "the inputs"),
                (lambda *all: mask(*all, low=torch.le), "exactly 0.1"),
                (lambda *all: mask(*all, high=torch.le), "exactly 0.9"),
                (lambda ids, c, f, w, m: mask(ids, c, f, w, 3), r"\(4, 50\)"),
            ],
        },
    ),
    (
        check.sentence_order,
        {
            "stub": stub,
            "reference": order,
            "right": [order_by_popping, lambda d: tuple(order(d))],
            "wrong": [
                (lambda d: order(d, label=0), "wrong way round"),
                (lambda d: order(d, swap=False), "change places"),
                (lambda d: order(d, both=False), "second example"),
                (across, "crosses documents"),
                (all_pairs, "only neighbours"),
                (lambda d: order(d)[0], "return a list"),
                (lambda d: order(d)[::-1], "expected"),
            ],
        },
    ),
    (
        check.fill_in_the_middle,
        {
            "stub": stub,
            "reference": middle,
            "right": [middle_by_popping, lambda *all: torch.tensor(middle(*all))],
            "wrong": [
                (lambda *all: middle(*all, shift=False), "not shifted"),
                (lambda *all: middle(*all, graded=False), "every token is graded"),
                (lambda *all: middle(*all, stop=False), "learns to stop"),
                (lambda *all: middle(*all, spm=True), "the inputs"),
                (lambda *all: middle(*all)[0], "return two things"),
            ],
        },
    ),
    (
        check.cut_spans,
        {
            "stub": stub,
            "reference": cut,
            "right": [cut_by_popping, cut_from_behind],
            "wrong": [
                (lambda *all: cut(*all, tail=False), "behind the last span"),
                (lambda *all: cut(*all, last=False), "one more sentinel"),
                (lambda t, s, m: (cut(t, s, m)[0], t), "the targets"),
                (lambda *all: cut(*all, end=1), r"the inputs of tokens \[1, 2, 3, 4\], spans \[\(1, 2\)\]"),
                (lambda t, s, m: cut(t, s, m) if s else ([], []), "expected 2 items|expected"),
                (counted_up, r"sentinels \[109"),
                (lambda t, s, m: t.clear() or s.clear() or ([], [100]), "the inputs"),
            ],
        },
    ),
    (
        check.hide_more,
        {
            "stub": ...,
            "reference": (0.866, 0.91),
            "right": [[0.86, 0.95], torch.tensor([0.87, 0.9]), (torch.tensor(0.865), np.float64(0.93))],
            "wrong": [
                ((0.72, 0.8), "at 15 %"),
                ((1.4, 1.5), "the best loss"),
                ((0.866, 0.7), "better than the best"),
                ((0.866, 1.4), "far above"),
                ((0.866, float("nan")), "far above"),
                ((0.700, 0.730), "at 15 %"),
                (0.866, "two numbers"),
            ],
        },
    ),
]


@pytest.mark.parametrize("checker, ways", TABLE, ids=[checker.__name__ for checker, _ in TABLE])
def test_four_ways(checker, ways, check_four_ways):
    check_four_ways(checker, **ways)
