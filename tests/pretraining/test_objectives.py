"""Objectives: counted shares against the published ones, reassembled text, and other people's implementations."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nan

from lmbook.pretraining import (
    IGNORE,
    causal_lm,
    loss,
    masked_lm,
    replace_tokens,
    replaced_token_loss,
    sentence_pairs,
    shift_right,
    span_corruption,
)

MASK, CLS, SEP, PAD, VOCAB = 3, 1, 2, 0, 200
SPECIAL = [PAD, CLS, SEP, MASK]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def words(*shape, seed=0):
    return torch.randint(4, VOCAB, shape, generator=seeded(seed))


def near(share, expected, n, sigmas=5):
    """Whether a share counted over n draws is within so many standard deviations of the expected one."""
    return abs(share - expected) < sigmas * math.sqrt(expected * (1 - expected) / n)


# ---- loss


@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_loss_is_the_mean_negative_log_probability(dtype, atol):
    logits = torch.randn(3, 5, 7, generator=seeded(), dtype=torch.float64).to(dtype)
    targets = torch.randint(7, (3, 5), generator=seeded())
    targets[0, :3] = targets[2, 4] = IGNORE
    by_hand = []
    for row, column in itertools.product(range(3), range(5)):
        if targets[row, column] != IGNORE:
            scores = [math.exp(score) for score in logits[row, column].tolist()]
            by_hand.append(-math.log(scores[targets[row, column]] / sum(scores)))
    assert len(by_hand) == 11
    assert loss(logits, targets).item() == pytest.approx(sum(by_hand) / 11, abs=atol)
    torch.testing.assert_close(
        loss(logits, targets), F.cross_entropy(logits.view(-1, 7), targets.view(-1)), rtol=0, atol=0
    )


def test_loss_is_computed_in_float32_and_has_no_gradient_where_ignored():
    logits = (30 * torch.randn(2, 4, 50, generator=seeded())).bfloat16().requires_grad_()
    targets = torch.tensor([[1, 2, IGNORE, 3], [IGNORE] * 4])
    value = loss(logits, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.float(), targets), rtol=0, atol=0)
    value.backward()
    assert (logits.grad.abs().sum(-1) > 0).equal(targets != IGNORE)


def test_loss_of_no_target_is_zero_and_gives_zero_gradient():
    logits = torch.randn(1, 2, 5, requires_grad=True)
    value = loss(logits, torch.full((1, 2), IGNORE))
    value.backward()
    assert value == 0 and not logits.grad.any()


# ---- causal


def test_causal_lm_shifts_by_one():
    tokens = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    inputs, targets = causal_lm(tokens)
    assert inputs.tolist() == [[5, 6, 7], [9, 10, 11]] and targets.tolist() == [[6, 7, 8], [10, 11, 12]]
    _, targets = causal_lm(tokens, mask=torch.tensor([[True, True, True, False], [True, False, False, False]]))
    assert targets.tolist() == [[6, 7, IGNORE], [IGNORE] * 3]


def test_causal_lm_asks_padding_for_nothing():
    """The first real token of a row that is padded on the left is no target, as it is none without padding."""
    tokens, mask = torch.tensor([[0, 0, 5, 6, 7]]), torch.tensor([[False, False, True, True, True]])
    _, targets = causal_lm(tokens, mask=mask)
    assert targets.tolist() == [[IGNORE, IGNORE, 6, 7]]


def test_causal_lm_agrees_with_the_loss_of_transformers():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCAB, n_positions=16, n_embd=8, n_layer=1, n_head=2, pad_token_id=PAD)
    model = GPT2LMHeadModel(config).double().eval()
    tokens = words(3, 10)
    inputs, targets = causal_lm(tokens)
    theirs = model(tokens, labels=tokens).loss
    assert loss(model(inputs).logits, targets).item() == pytest.approx(theirs.item(), abs=1e-6)  # theirs is float32


# ---- masked


def shares(inputs, targets, tokens):
    """Shares of chosen tokens; of masks, of other tokens and of the same tokens among the chosen."""
    chosen = targets != IGNORE
    assert targets[chosen].equal(tokens[chosen]) and inputs[~chosen].equal(tokens[~chosen])
    seen = inputs[chosen]
    masked, same = (seen == MASK).double().mean(), (seen == tokens[chosen]).double().mean()
    return chosen.double().mean().item(), masked.item(), (1 - masked - same).item(), same.item(), int(chosen.sum())


def test_masked_lm_chooses_15_percent_and_hides_80_10_10():
    tokens = words(400, 500)
    chosen, masked, other, same, n = shares(
        *masked_lm(tokens, vocab_size=VOCAB, mask_id=MASK, generator=seeded()), tokens
    )
    assert near(chosen, 0.15, tokens.numel())
    # a random word is the mask or the right one now and then
    by_chance = 0.1 / VOCAB
    assert near(masked, 0.8 + by_chance, n) and near(same, 0.1 + by_chance, n) and near(other, 0.1 - 2 * by_chance, n)


def test_masked_lm_has_the_shares_of_transformers_collator():
    from tokenizers import Tokenizer, models
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    names = {token: id for id, token in enumerate(["[PAD]", "[CLS]", "[SEP]", "[MASK]"])}
    names |= {f"w{id}": id for id in range(4, VOCAB)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(names, "[PAD]")),
        pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip
    tokens = torch.cat([torch.full((400, 1), CLS), words(400, 500), torch.full((400, 1), SEP)], dim=1)
    torch.manual_seed(0)
    batch = DataCollatorForLanguageModeling(tokenizer)([{"input_ids": row} for row in tokens.tolist()])
    theirs = shares(batch["input_ids"], batch["labels"], tokens)
    ours = masked_lm(tokens, vocab_size=VOCAB, mask_id=MASK, special_ids=SPECIAL, generator=seeded())
    assert not (ours[1][:, [0, -1]] != IGNORE).any() and not (batch["labels"][:, [0, -1]] != IGNORE).any()
    ours = shares(*ours, tokens)
    for mine, other, n in zip(ours[:4], theirs[:4], [tokens.numel()] + [ours[4]] * 3, strict=True):
        assert near(mine, other, n, sigmas=6)


def test_masked_lm_never_chooses_special_tokens_and_draws_from_the_whole_vocabulary():
    tokens = words(300, 300)
    tokens[:, ::3] = torch.tensor(SPECIAL)[torch.randint(4, (300, 100), generator=seeded())]
    inputs, targets = masked_lm(
        tokens, vocab_size=VOCAB, mask_id=MASK, special_ids=SPECIAL, rate=0.5, random=1.0, keep=0.0, generator=seeded()
    )
    special = torch.isin(tokens, torch.tensor(SPECIAL))
    assert (targets[special] == IGNORE).all() and inputs[special].equal(tokens[special])
    drawn = inputs[targets != IGNORE].bincount(minlength=VOCAB).double()
    expected = drawn.sum() / VOCAB
    assert ((drawn - expected) ** 2 / expected).sum() < VOCAB + 6 * math.sqrt(2 * VOCAB)  # chi-squared


def test_masked_lm_follows_its_generator_and_leaves_the_tokens_alone():
    tokens, options = words(4, 50), {"vocab_size": VOCAB, "mask_id": MASK}
    before = tokens.clone()
    one, two = (masked_lm(tokens, generator=seeded(1), **options) for _ in range(2))
    assert one[0].equal(two[0]) and one[1].equal(two[1]) and tokens.equal(before)
    assert not one[0].equal(masked_lm(tokens, generator=seeded(2), **options)[0])


# ---- next sentence


@pytest.fixture
def documents():
    """Eight documents of one to ten sentences; each word tells the document, the sentence and its place."""
    return [
        [[1000 * d + 100 * s + w + 1000 for w in range(2 + (d + s) % 5)] for s in range(1 + (3 * d) % 10)]
        for d in range(8)
    ]


SIZES = {"max_len": 16, "cls_id": CLS, "sep_id": SEP, "pad_id": PAD}


def test_sentence_pairs_are_real_or_random_half_and_half(documents):
    inputs, labels = sentence_pairs(documents, 4000, **SIZES, generator=seeded())
    assert near(labels.double().mean().item(), 0.5, 4000)
    firsts, others = Counter(), Counter()
    for ids, segments, mask, label in zip(*inputs.values(), labels.tolist(), strict=True):
        length = int(mask.sum())
        ids, segments = ids.tolist(), segments.tolist()
        end = ids.index(SEP)
        assert mask[:length].all() and ids[0] == CLS and ids[length - 1] == SEP and set(ids[length:]) <= {PAD}
        assert segments == [0] * (end + 1) + [1] * (length - end - 1) + [0] * (16 - length)
        (d, s), (e, t) = (divmod(words[0] // 100 - 10, 10) for words in (ids[1:end], ids[end + 1 : length - 1]))
        assert ids[1:end] == documents[d][s] and ids[end + 1 : length - 1] == documents[e][t]  # nothing was cut
        assert (e, t) == (d, s + 1) if label == 0 else e != d
        firsts[d, s] += 1
        others[e] += label
    assert set(firsts) == {(d, s) for d, document in enumerate(documents) for s in range(len(document) - 1)}
    assert all(abs(count - 4000 / len(firsts)) < 6 * math.sqrt(4000 / len(firsts)) for count in firsts.values())
    assert set(others) == set(range(8))


def test_sentence_pairs_that_are_too_long_lose_the_end_of_the_longer_one():
    documents = [[[10, 11, 12, 13, 14, 15], [20, 21]], [[30, 31]]]
    for seed in range(20):
        inputs, labels = sentence_pairs(documents, 1, **(SIZES | {"max_len": 9}), generator=seeded(seed))
        second = [30, 31] if labels else [20, 21]
        assert inputs["ids"].tolist() == [[CLS, 10, 11, 12, 13, SEP, *second, SEP]]


def test_sentence_pairs_fit_our_bert(documents):
    from lmbook.transformer import BERT, BertConfig

    inputs, labels = sentence_pairs(documents, 6, **SIZES, generator=seeded())
    bert = BERT(BertConfig(vocab_size=9000, d_model=8, n_layers=1, n_heads=2, d_ff=8, max_len=16)).eval()
    assert loss(bert.next_sentence(**inputs), labels).item() == pytest.approx(math.log(2), abs=0.1)


# ---- replaced tokens


def test_replaced_tokens_are_samples_of_the_generator():
    tokens = words(300, 200)
    _, targets = masked_lm(tokens, vocab_size=VOCAB, mask_id=MASK, random=0.0, keep=0.0, generator=seeded())
    logits = torch.randn(VOCAB, generator=seeded(2), dtype=torch.float64) + torch.zeros(300, 200, VOCAB)
    inputs, labels = replace_tokens(tokens, targets, logits, generator=seeded(3))
    chosen = targets != IGNORE
    assert inputs[~chosen].equal(tokens[~chosen]) and labels.equal((inputs != tokens).long())
    assert not labels[~chosen].any()
    n, probabilities = int(chosen.sum()), logits[0, 0].softmax(-1)
    counts = inputs[chosen].bincount(minlength=VOCAB).double()
    assert ((counts - n * probabilities) ** 2 / (n * probabilities)).sum() < VOCAB + 6 * math.sqrt(2 * VOCAB)
    right = probabilities[tokens[chosen]].mean().item()
    assert near((labels[chosen] == 0).double().mean().item(), right, n)


def test_a_generator_that_is_right_replaces_nothing_and_padding_has_no_label():
    tokens, mask = words(2, 6), torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    targets = tokens.where(torch.rand(2, 6, generator=seeded()) < 0.5, IGNORE)
    logits = 100.0 * F.one_hot(tokens, VOCAB)
    inputs, labels = replace_tokens(tokens, targets, logits.requires_grad_(), mask=mask, generator=seeded())
    assert inputs.equal(tokens) and labels.equal(torch.zeros(2, 6, dtype=torch.long).where(mask, IGNORE))
    assert not inputs.requires_grad


def test_replaced_token_loss_is_electras():
    from transformers import ElectraConfig, ElectraForPreTraining

    torch.manual_seed(0)
    config = ElectraConfig(
        vocab_size=VOCAB, embedding_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    model = ElectraForPreTraining(config).double().eval()
    tokens, labels = words(3, 10), torch.randint(2, (3, 10), generator=seeded())
    mask = torch.ones_like(tokens)
    mask[1, 6:] = 0
    theirs = model(tokens, attention_mask=mask, labels=labels)
    ours = replaced_token_loss(theirs.logits, labels.where(mask.bool(), IGNORE))
    assert ours.item() == pytest.approx(theirs.loss.item(), abs=1e-6)  # theirs is float32
    with_nan = theirs.logits.detach().where(mask.bool(), nan).requires_grad_()
    replaced_token_loss(with_nan, labels.where(mask.bool(), IGNORE)).backward()
    assert not with_nan.grad[mask == 0].any()


# ---- span corruption


def published_mask(length, rate, mean_span, random):
    """random_spans_noise_mask of T5's published preprocessors, written anew in NumPy."""
    length = max(length, 2)
    n_noise = min(max(int(np.round(length * rate)), 1), length - 1)
    n_spans = max(int(np.round(n_noise / mean_span)), 1)

    def segment(n_items, n_segments):
        first = np.arange(n_items - 1) < n_segments - 1
        random.shuffle(first)
        return np.bincount(np.cumsum(np.pad(first, (1, 0))))

    noise, text = segment(n_noise, n_spans), segment(length - n_noise, n_spans)
    lengths = np.stack([text, noise], axis=1).reshape(-1)
    starts = np.zeros(length, dtype=int)
    starts[np.cumsum(lengths)[:-1]] = 1
    return np.cumsum(starts) % 2 == 1


def spans(inputs, targets, sentinels):
    """The text and the mask that a pair was made of."""
    pieces, key = {}, None
    for token in targets:
        if token in sentinels:
            pieces[key := token] = []
        else:
            pieces[key].append(token)
    assert list(pieces) == sentinels[: len(pieces)] and pieces[key] == []
    text, mask = [], []
    for token in inputs:
        text += pieces.get(token, [token])
        mask += [True] * len(pieces[token]) if token in pieces else [False]
    assert [token for token in inputs if token in sentinels] == list(pieces)[:-1]
    return text, mask


SENTINELS = list(range(VOCAB + 60, VOCAB, -1))


@pytest.mark.parametrize(
    "length, options",
    [(2, {}), (3, {}), (7, {}), (20, {}), (31, {}), (100, {}), (333, {}), (64, {"rate": 0.5, "mean_span": 10.0}),
     (50, {"mean_span": 1.0}), (9, {"rate": 0.9, "mean_span": 1.0})],
)  # fmt: skip
def test_spans_reassemble_the_text_and_are_as_many_as_in_the_published_code(length, options):
    tokens = words(20, length)
    inputs, targets = span_corruption(tokens, sentinel_ids=SENTINELS, generator=seeded(), **options)
    for row in range(20):
        text, mask = spans(inputs[row].tolist(), targets[row].tolist(), SENTINELS)
        assert text == tokens[row].tolist()
        if length > 9:  # where the published code finds no room for its spans, it makes masks of other shares
            reference = published_mask(length, options.get("rate", 0.15), options.get("mean_span", 3.0), np.random)
            assert sum(mask) == reference.sum()
            assert np.diff(np.pad(mask, 1).astype(int)).clip(0).sum() == np.diff(np.pad(reference, 1)).sum() / 2
        assert not mask[0] and mask[-1]


def test_spans_have_the_distribution_of_the_published_code():
    length, n = 24, 4000  # 4 tokens in 1 span would be one mask; rate 0.2 and mean 2.5 give 5 tokens in 2 spans
    random = np.random.RandomState(0)
    theirs = Counter(tuple(published_mask(length, 0.2, 2.5, random)) for _ in range(n))
    inputs, targets = span_corruption(
        words(n, length), sentinel_ids=SENTINELS, rate=0.2, mean_span=2.5, generator=seeded()
    )
    pairs = zip(inputs.tolist(), targets.tolist(), strict=True)
    ours = Counter(tuple(spans(*pair, SENTINELS)[1]) for pair in pairs)
    assert set(ours) == set(theirs) and len(ours) == 4 * 18  # ways to cut 5 in two, and 19 in two
    expected = n / len(ours)
    for counts in (ours, theirs):
        statistic = sum((count - expected) ** 2 / expected for count in counts.values())
        assert statistic < len(ours) + 6 * math.sqrt(2 * len(ours))


def test_span_corruption_takes_15_percent_in_spans_of_3():
    inputs, targets = span_corruption(words(50, 512), sentinel_ids=SENTINELS, generator=seeded())
    assert inputs.shape == (50, 512 - 77 + 26) and targets.shape == (50, 77 + 26 + 1)  # 0.15 · 512 = 76.8, / 3 = 25.7
    assert abs(77 / 512 - 0.15) < 0.001 and abs(77 / 26 - 3) < 0.05


def test_shift_right_is_that_of_transformers():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCAB, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=PAD
    )
    targets = words(3, 7)
    targets[1, 5:] = IGNORE
    assert shift_right(targets, PAD).equal(T5ForConditionalGeneration(config)._shift_right(targets))
    assert shift_right(targets, 9)[0].tolist() == [9, *targets[0, :-1].tolist()]
