"""Prompts of different lengths in one batch, against one prompt after the other."""

import torch

from lmbook.generation import generate, generate_batch, left_pad
from lmbook.transformer import KVCache

PROMPTS = [[3, 1, 4, 1, 5, 9, 2], [6], [5, 3, 5], [8, 9, 7, 9]]


def one_by_one(model, n_tokens, **options):
    return [list(generate(model, torch.tensor([prompt]), n_tokens, **options)) for prompt in PROMPTS]


def test_left_pad():
    ids, mask = left_pad([[7, 8, 9], torch.tensor([5, 6]), [4]])
    assert ids.tolist() == [[7, 8, 9], [5, 5, 6], [4, 4, 4]]
    assert mask.tolist() == [[True, True, True], [False, True, True], [False, False, True]]
    assert ids.dtype == torch.int64 and left_pad([torch.tensor([5], dtype=torch.int32)])[0].dtype == torch.int64


def test_equals_one_by_one_for_each_kind_of_position(gpt, positions):
    model = gpt(positions=positions)
    expected = one_by_one(model, 20)
    assert generate_batch(model, PROMPTS, 20) == expected
    assert len({token for text in expected for token in text}) > 8
    assert generate_batch(model, [torch.tensor(prompt) for prompt in PROMPTS], 20) == expected
    penalised = one_by_one(model, 12, repetition_penalty=1.5)
    assert generate_batch(model, PROMPTS, 12, repetition_penalty=1.5) == penalised != [text[:12] for text in expected]


def test_each_sequence_stops_by_itself(gpt, positions):
    model = gpt(positions=positions)
    full = one_by_one(model, 20)
    stops = {full[0][5], full[2][9]}
    expected = one_by_one(model, 20, stop_ids=stops)
    assert len({len(text) for text in expected}) >= 2
    assert generate_batch(model, PROMPTS, 20, stop_ids=stops) == expected
    assert generate_batch(model, PROMPTS, 20, stop_ids={text[0] for text in full}) == [[], [], [], []]


def test_each_token_is_read_once_and_who_has_stopped_is_read_no_more(gpt):
    model, shapes = gpt(), []
    full = one_by_one(model, 6)
    model.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))
    generate_batch(model, PROMPTS, 6, stop_ids=[full[1][2]])
    stopped = [text.index(full[1][2]) if full[1][2] in text else 99 for text in full]
    assert shapes == [(4, 7)] + [(sum(place >= step for place in stopped), 1) for step in range(1, 6)]


def test_prompts_of_one_length_need_no_mask(gpt):
    class NoMask:
        def __init__(self, model):
            self.model, self.blocks = model, model.blocks

        def __call__(self, ids, cache):
            return self.model(ids, cache=cache)

    model = gpt()
    ids = torch.randint(50, (3, 5), generator=torch.Generator().manual_seed(0))
    assert generate_batch(NoMask(model), list(ids), 9) == generate_batch(model, list(ids), 9)


def test_shares_of_each_sequence(table, fits):
    model, n = table(4), 5000
    prompts, generator = [[1, 2], [3, 0]] * n, torch.Generator().manual_seed(0)
    texts = torch.tensor(generate_batch(model, prompts, 2, temperature=0.8, top_k=3, generator=generator))
    for row, (a, b) in enumerate(prompts[:2]):
        first = _top_three(model.logits[a, b])
        expected = torch.stack([first[c] * _top_three(model.logits[b, c]) for c in range(4)])
        counts = (texts[row::2, 0] * 4 + texts[row::2, 1]).bincount(minlength=16)
        fits(counts, expected * n)


def _top_three(logits):
    weights = (logits / 0.8).exp()
    weights[logits.argmin()] = 0
    return weights / weights.sum()


def test_prompts_stay_as_they_were(gpt):
    prompts = [torch.tensor([1, 2, 3]), torch.tensor([4])]
    generate_batch(gpt(), prompts, 3)
    assert [prompt.tolist() for prompt in prompts] == [[1, 2, 3], [4]]


def test_a_cache_that_is_cut_or_rearranged_equals_a_fresh_one(gpt, positions):
    model, ids = gpt(positions=positions), torch.randint(50, (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        cache = KVCache(2)
        model(ids, cache=cache)
        cache.crop(20)
        assert cache.length == 9
        cache.crop(6)
        assert cache.length == 6
        torch.testing.assert_close(model(ids[:, 6:], cache=cache), model(ids)[:, 6:], rtol=0, atol=1e-10)
        rows, more = torch.tensor([2, 0, 2, 2]), torch.tensor([[1], [2], [3], [4]])
        cache.select(rows)
        expected = model(torch.cat([ids[rows], more], dim=1))[:, -1:]
        torch.testing.assert_close(model(more, cache=cache), expected, rtol=0, atol=1e-10)
        cache.crop(0)
        assert cache.length == 0
    empty = KVCache(2)
    empty.crop(3)
    empty.select(torch.tensor([5]))
    assert empty.length == 0
