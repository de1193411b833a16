"""Calls that the package must refuse, each with the error that a reader meets.

To add a part of the package, append a list of ``(id, call, exception, pattern)`` to ``ROWS`` and its names to
``PUBLIC``. The pattern is searched in the message, which names the argument, its value and the limit.
"""

import os
import re

import pytest
import torch

import lmbook.generation
import lmbook.pretraining
import lmbook.text
import lmbook.transformer
from lmbook import _checks
from lmbook.generation import (
    Hypothesis,
    beam_search,
    distribution,
    generate,
    generate_batch,
    left_pad,
    min_p,
    repetition_penalty,
    sample,
    speculative,
    stream_text,
    top_k,
    top_p,
)
from lmbook.pretraining import (
    Batches,
    Muon,
    Recipe,
    Run,
    adamw,
    causal_lm,
    distribute,
    evaluate,
    load_checkpoint,
    loss,
    masked_lm,
    model_loss,
    muon,
    orthogonalise,
    replace_tokens,
    replaced_token_loss,
    save_checkpoint,
    sentence_pairs,
    shift_right,
    span_corruption,
    train,
    trained,
    warmup_cosine,
    warmup_linear,
    warmup_stable_decay,
    weight_decay_groups,
)
from lmbook.text import (
    BPE,
    GloVe,
    InterpolatedNGram,
    KneserNey,
    NGram,
    SkipGram,
    bits_per_byte,
    candidate_pairs,
    cooccurrences,
    exact_unique,
    glove_loss,
    jaccard,
    length_buckets,
    minhash,
    near_duplicates,
    near_unique,
    negative_sampling_loss,
    noise_distribution,
    pack,
    pad,
    perplexity,
    read_documents,
    shingles,
    skip_gram_pairs,
)
from lmbook.transformer import (
    BERT,
    GPT,
    AlibiBias,
    BertConfig,
    BertEncoder,
    Block,
    EncoderDecoder,
    EncoderDecoderConfig,
    FeedForward,
    GatedFeedForward,
    GPTConfig,
    KVCache,
    LayerCache,
    LayerNorm,
    LearnedPositions,
    MultiHeadAttention,
    PostNorm,
    PreNorm,
    RelativeBias,
    RMSNorm,
    RopeScaling,
    Rotary,
    SinusoidalPositions,
    alibi_slopes,
    attention,
    attention_weights,
    causal_mask,
    fast_attention,
    layer_norm,
    padding_mask,
    prefix_mask,
    record_attention,
    relative_buckets,
    rms_norm,
    rotate,
    sinusoidal_encoding,
    window_mask,
)

if os.environ.get("LMBOOK_TYPECHECK") == "1":
    pytest.skip("with LMBOOK_TYPECHECK=1 jaxtyping refuses bad calls before the package does", allow_module_level=True)

x, one, nan = torch.zeros, torch.ones, float("nan")
ids = lambda *shape: torch.zeros(*shape, dtype=torch.long)  # noqa: E731
yes = lambda *shape: torch.ones(*shape, dtype=torch.bool)  # noqa: E731
GPT_SIZES = {"vocab_size": 11, "max_len": 8, "d_model": 8, "n_layers": 2, "n_heads": 2}
BERT_SIZES = {"vocab_size": 11, "max_len": 8, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}
PAIR_SIZES = {"vocab_size": 11, "max_len": 8, "d_model": 8, "n_layers": 2, "n_heads": 2, "d_head": 4, "d_ff": 8}


def gpt_config(**options):
    return GPTConfig(**(GPT_SIZES | options))


def bert_config(**options):
    return BertConfig(**(BERT_SIZES | options))


def pair_config(**options):
    return EncoderDecoderConfig(**(PAIR_SIZES | options))


def gpt(**options):
    return GPT(gpt_config(**options))


def glove(counts, **options):
    return glove_loss(x(2, 3), x(2, 3), x(2), x(2), counts, **options)


def bert():
    return BERT(bert_config())


def pair():
    return EncoderDecoder(pair_config())


def heads(**options):
    return MultiHeadAttention(8, 2, **options)


def block(**options):
    return Block(heads(), FeedForward(8, 8), **({"norm": lambda: LayerNorm(8)} | options))


def after(n_tokens, model, batch=1):
    """A cache that holds some tokens."""
    cache = KVCache(len(model.blocks))
    model(ids(batch, n_tokens), cache=cache)
    return cache


def filled(layer_cache, *shape):
    layer_cache.append(x(*shape), x(*shape))
    return layer_cache


def broken(model):
    with torch.no_grad():
        model.norm.weight.fill_(nan)
    return model


def guess(target=None, draft=None, n_tokens=3, n_draft=2, prompt=None, **options):
    prompt = ids(1, 3) if prompt is None else prompt
    return list(speculative(target or gpt(), draft or gpt(), prompt, n_tokens, n_draft, **options))


def run(tokens):
    return list(tokens)


PAIR_IDS = {"max_len": 9, "cls_id": 1, "sep_id": 2, "pad_id": 0}


def masked(tokens=None, **options):
    return masked_lm(ids(1, 3) if tokens is None else tokens, **({"vocab_size": 9, "mask_id": 1} | options))


def pairs(documents=(((5,), (6,)), ((7,),)), n=1, **options):
    return sentence_pairs(documents, n, **(PAIR_IDS | options))


def spans(tokens=None, **options):
    return span_corruption(ids(1, 9) if tokens is None else tokens, **({"sentinel_ids": [9, 8]} | options))


def group(tensor, momentum=0.9):
    return {"params": [torch.nn.Parameter(tensor)], "momentum": momentum}


def recipe(**options):
    options = {"corpus": "shakespeare", "n_held_out": 1, "model": gpt_config(), "steps": 9, "batch_size": 1} | options
    return Recipe(lr=1.0, warmup=1, **options)


def text_batches(tokens=None, **options):
    return Batches(ids(99) if tokens is None else tokens, **({"batch_size": 2, "length": 5} | options))


def fit(batches=None, **options):
    batches = [(ids(1, 3), ids(1, 3))] if batches is None else batches
    return run(train(batches=batches, **({"model": gpt(), "steps": 1, "lr": 1e-3} | options)))


def enter(manager, call=lambda: None):
    with manager:
        call()


# fmt: off
CHECKS = [
    ("size zero", lambda: _checks.check_positive(n=0), ValueError, "n must be at least 1, got 0"),
    ("size float", lambda: _checks.check_positive(n=2.0), TypeError, r"n must be an int, got 2.0 \(float\)"),
    ("size bool", lambda: _checks.check_positive(n=True), TypeError, r"n must be an int, got True \(bool\)"),
    ("not divisible", lambda: _checks.check_divides(a=7, b=2), ValueError, "a must be divisible by b, got a=7, b=2"),
    ("rate one", lambda: _checks.check_fraction(p=1.0), ValueError, r"p must be in \[0, 1\), got 1.0"),
    ("rate NaN", lambda: _checks.check_fraction(p=nan), ValueError, r"p must be in \[0, 1\), got nan"),
    ("rate text", lambda: _checks.check_fraction(p="a"), TypeError, r"p must be a number, got 'a' \(str\)"),
    ("zero", lambda: _checks.check_above_zero(eps=0.0), ValueError, "eps must be above 0, got 0.0"),
    ("above zero None", lambda: _checks.check_above_zero(eps=None), TypeError, "eps must be a number, got None"),
    ("choice", lambda: _checks.check_choice(("b", "a"), norm="c"), ValueError, "norm must be one of a, b, got 'c'"),
    ("no tensor", lambda: _checks.check_float(q=[1.0]), TypeError, "q must be a tensor, got list"),
    ("token list", lambda: _checks.check_ids([[1]], 5), TypeError, "ids must be a tensor, got list"),
    ("range", lambda: _checks.check_range(ids(2) - 1, 5), ValueError, r"ids must be in \[0, 5\), got values from -1"),
    ("integers", lambda: _checks.check_integers(x(2)), TypeError, "ids must be int32 or int64, got torch.float32"),
    ("token mask", lambda: _checks.check_mask(one(1, 2), (1, 2)), TypeError, "mask must be boolean .*torch.float32"),
    ("token mask shape", lambda: _checks.check_mask(yes(2), (1, 2)), ValueError, r"= \(1, 2\), got \(2,\)"),
    ("width rank", lambda: _checks.check_width(x(2, 3), 3), ValueError, r"x must have 3 axes .* got shape \(2, 3\)"),
]

ATTENTION = [
    ("q rank", lambda: attention(x(4), x(3, 4), x(3, 4)), ValueError, r"q must have at least 2 axes .*\(4,\)"),
    ("q list", lambda: attention_weights([[1.0]], x(3, 4)), TypeError, "q must be a tensor, got list"),
    ("k empty", lambda: attention(x(2, 4), x(0, 4), x(0, 4)), ValueError, r"k is empty, shape \(0, 4\)"),
    ("no width", lambda: fast_attention(x(2, 0), x(3, 0), x(3, 4)), ValueError, r"q is empty, shape \(2, 0\)"),
    ("widths", lambda: attention_weights(x(2, 4), x(3, 5)), ValueError, "q and k must have the same width, .*4 and 5"),
    ("batches", lambda: attention(x(2, 3, 4), x(3, 3, 4), x(3, 3, 4)), ValueError, r"same batch axes.*\(2, 3, 4\)"),
    ("values", lambda: attention(x(2, 4), x(3, 4), x(2, 4)), ValueError, r"k and v .*\(3, 4\) and \(2, 4\)"),
    ("integer q", lambda: attention(ids(2, 4), x(2, 4), x(2, 4)), TypeError, "q must be floating.*torch.int64"),
    ("integer v", lambda: fast_attention(x(2, 4), x(2, 4), ids(2, 4)), TypeError, "v must be floating point"),
    ("float weights", lambda: attention(*[x(3, 4)] * 3, one(3, 3)), TypeError, r"mask must be boolean .*torch.float32"),
    ("mask int", lambda: fast_attention(*[x(3, 4)] * 3, ids(3, 3)), TypeError, r"mask must be boolean .*torch.int64"),
    ("mask shape", lambda: attention(*[x(3, 4)] * 3, yes(3, 2)), ValueError, r"mask .*= \(3, 3\), got shape \(3, 2\)"),
    ("mask too big", lambda: fast_attention(*[x(3, 4)] * 3, yes(2, 3, 3)), ValueError, r"mask .*\(2, 3, 3\)"),
    ("bias mask", lambda: attention(*[x(3, 4)] * 3, bias=yes(3, 3)), TypeError, "bias must be floating .*torch.bool"),
    ("bias shape", lambda: attention(*[x(3, 4)] * 3, bias=x(4, 3)), ValueError, r"bias .*= \(3, 3\), .*\(4, 3\)"),
    ("attend no past", lambda: attention(x(4, 2), x(3, 2), x(3, 2), causal=True), ValueError, "n_queries=4, got 3"),
    ("dropout one", lambda: fast_attention(*[x(3, 4)] * 3, dropout=1.0), ValueError, r"dropout must be in \[0, 1\)"),
    ("no queries", lambda: causal_mask(0), ValueError, "n_queries must be at least 1, got 0"),
    ("float queries", lambda: causal_mask(2.0), TypeError, "n_queries must be an int, got 2.0"),
    ("fewer keys", lambda: causal_mask(3, 2), ValueError, "n_keys must be at least n_queries=3, got 2"),
    ("window zero", lambda: window_mask(3, 0), ValueError, "window must be at least 1, got 0"),
    ("prefix long", lambda: prefix_mask(3, 4), ValueError, "n_prefix must be from 0 to n_tokens=3, got 4"),
    ("prefix float", lambda: prefix_mask(3, 1.5), TypeError, "n_prefix must be an int, got 1.5"),
    ("pad rank", lambda: padding_mask(ids(3), 0), ValueError, r"ids must have 2 axes .*got shape \(3,\)"),
    ("pad None", lambda: padding_mask(ids(1, 3), None), TypeError, "pad_id must be an int, got None"),
    ("pad floats", lambda: padding_mask(x(1, 3), 0), TypeError, "ids must be int32 or int64, got torch.float32"),
]

HEADS = [
    ("heads", lambda: MultiHeadAttention(10, 4), ValueError, "d_model must be divisible by n_heads.*10, n_heads=4"),
    ("zero heads", lambda: MultiHeadAttention(8, 0), ValueError, "n_heads must be at least 1, got 0"),
    ("width text", lambda: MultiHeadAttention("8", 2), TypeError, r"d_model must be an int, got '8' \(str\)"),
    ("kv heads", lambda: MultiHeadAttention(8, 4, n_kv_heads=3), ValueError, "n_heads must be divisible by n_kv_heads"),
    ("head width", lambda: heads(d_head=0), ValueError, "d_head must be at least 1, got 0"),
    ("head dropout", lambda: heads(dropout=1.0), ValueError, r"dropout must be in \[0, 1\), got 1.0"),
    ("x rank", lambda: heads()(x(3, 8)), ValueError, r"x must have 3 axes .*got shape \(3, 8\)"),
    ("x width", lambda: heads()(x(1, 3, 6)), ValueError, "x must have width d_model=8, got 6"),
    ("x empty", lambda: heads()(x(1, 0, 8)), ValueError, r"x is empty, shape \(1, 0, 8\)"),
    ("x ids", lambda: heads()(ids(1, 3, 8)), TypeError, "x must be floating point, got torch.int64"),
    ("memory width", lambda: heads()(x(1, 3, 8), x(1, 3, 6)), ValueError, "memory must have width d_model=8, got 6"),
    ("memory batch", lambda: heads()(x(2, 3, 8), x(1, 3, 8)), ValueError, "memory must have the batch of x, 2, got 1"),
    ("memory cached", lambda: heads()(x(1, 3, 8), x(1, 3, 8), cache=LayerCache()), ValueError, "cache is for self-att"),
    ("3-D mask", lambda: heads()(x(2, 3, 8), mask=yes(2, 3, 3)), ValueError, r"\(queries, keys\) or .*got \(2, 3, 3\)"),
    ("1-D mask", lambda: heads().weights(x(2, 3, 8), mask=yes(3)), ValueError, r"mask must be \(queries.*got \(3,\)"),
    ("float mask", lambda: heads()(x(2, 3, 8), mask=one(3, 3)), TypeError, "mask must be boolean .*torch.float32"),
    ("heads bias", lambda: heads()(x(2, 3, 8), bias=x(3, 3, 3)), ValueError, r"bias must be .*got shape \(3, 3, 3\)"),
    ("rotary width", lambda: heads(rotary=Rotary(8))(x(1, 3, 8)), ValueError, "x must have width d_head=8, got 4"),
    ("record nothing", lambda: enter(record_attention(FeedForward(8, 8))), ValueError, "got FeedForward without any"),
    (
        "record cached",
        lambda: enter(record_attention(m := gpt()), lambda: m(ids(1, 3), cache=KVCache(2))),
        ValueError,
        "record_attention cannot look into a cached pass",
    ),
    ("k rank", lambda: LayerCache().append(x(2, 3, 4), x(2, 3, 4)), ValueError, r"same 4 axes .*\(2, 3, 4\)"),
    ("k and v", lambda: LayerCache().append(x(1, 2, 3, 4), x(1, 2, 4, 4)), ValueError, r"same 4 axes .*\(1, 2, 4, 4\)"),
    (
        "other batch",
        lambda: filled(filled(LayerCache(), 1, 2, 3, 4), 2, 2, 3, 4),
        ValueError,
        r"the cache's shape \(1, 2, 3, 4\) in the number of tokens only, got \(2, 2, 3, 4\)",
    ),
    ("no layers", lambda: KVCache(0), ValueError, "n_layers must be at least 1, got 0"),
]

POSITIONS = [
    ("odd waves", lambda: sinusoidal_encoding(ids(3), 5), ValueError, "d_model must be even, got 5"),
    ("waves base", lambda: sinusoidal_encoding(ids(3), 4, base=0.0), ValueError, "base must be above 0, got 0.0"),
    ("odd module", lambda: SinusoidalPositions(5), ValueError, "d_model must be even, got 5"),
    ("no positions", lambda: LearnedPositions(0, 4), ValueError, "max_len must be at least 1, got 0"),
    ("late position", lambda: LearnedPositions(4, 4)(ids(2) + 4), ValueError, r"positions must be in \[0, 4\).* to 4"),
    ("negative position", lambda: LearnedPositions(4, 4)(ids(2) - 1), ValueError, r"positions must be in \[0, 4\).*-1"),
    ("float position", lambda: LearnedPositions(4, 4)(x(2)), TypeError, "positions must be int32.*float32"),
    ("odd rotation", lambda: rotate(x(3, 5), ids(3)), ValueError, r"x must be .*an even width.*\(3, 5\)"),
    ("rotated ids", lambda: rotate(ids(3, 4), ids(3)), TypeError, "x must be floating point, got torch.int64"),
    ("few positions", lambda: rotate(x(3, 4), ids(2)), ValueError, r"positions must be one for each of.*3 tokens.*2"),
    ("odd rotary", lambda: Rotary(5), ValueError, "d_head must be even, got 5"),
    ("rotary base", lambda: Rotary(4, base=-1.0), ValueError, "base must be above 0, got -1.0"),
    ("stretch by 0", lambda: RopeScaling(factor=0), ValueError, "factor must be above 0, got 0"),
    ("stretch by a word", lambda: RopeScaling(factor="8"), TypeError, "factor must be a number, got '8'"),
    ("slow above fast", lambda: RopeScaling(factor=8.0, slow=9.0), ValueError, "fast must be above slow=9.0, got 4.0"),
    ("half a context", lambda: RopeScaling(factor=8.0, original_max_len=0.5), TypeError, "must be an int, got 0.5"),
    ("stretched learned", lambda: gpt_config(rope_scaling=RopeScaling(factor=8.0)), ValueError,
     "rope_scaling is for positions='rotary', got 'learned'"),
    ("no slopes", lambda: alibi_slopes(0), ValueError, "n_heads must be at least 1, got 0"),
    ("alibi heads", lambda: AlibiBias(1.5), TypeError, "n_heads must be an int, got 1.5"),
    ("alibi keys", lambda: AlibiBias(2)(4, 3), ValueError, "n_keys must be at least n_queries=4, got 3"),
    ("float distance", lambda: relative_buckets(x(3)), TypeError, "distance must be int32 or int64, got torch.float32"),
    ("odd buckets", lambda: relative_buckets(ids(3), n_buckets=7), ValueError, "n_buckets must be even, got 7"),
    ("one bucket", lambda: relative_buckets(ids(3), n_buckets=2), ValueError, "n_buckets must be at least 4, got 2"),
    ("near limit", lambda: relative_buckets(ids(3), max_distance=8), ValueError, "max_distance must be above 8 for"),
    ("bias buckets", lambda: RelativeBias(2, n_buckets=0), ValueError, "n_buckets must be at least 1, got 0"),
    ("bias heads", lambda: RelativeBias(0), ValueError, "n_heads must be at least 1, got 0"),
    ("bias queries", lambda: RelativeBias(2)(0, 3), ValueError, "n_queries must be at least 1, got 0"),
]

LAYERS = [
    ("norm weight", lambda: layer_norm(x(3, 4), x(3)), ValueError, r"weight must have shape \(4,\), got \(3,\)"),
    ("norm bias", lambda: layer_norm(x(3, 4), x(4), x(3, 4)), ValueError, r"bias must have shape \(4,\), got \(3, 4\)"),
    ("norm eps", lambda: layer_norm(x(3, 4), eps=-1.0), ValueError, "eps must be above 0, got -1.0"),
    ("norm ids", lambda: layer_norm(ids(3, 4)), TypeError, "x must be floating point, got torch.int64"),
    ("rms weight", lambda: rms_norm(x(3, 4), x(3)), ValueError, r"weight must have shape \(4,\), got \(3,\)"),
    ("rms eps", lambda: rms_norm(x(3, 4), eps=0.0), ValueError, "eps must be above 0, got 0.0"),
    ("LayerNorm size", lambda: LayerNorm(0), ValueError, "d_model must be at least 1, got 0"),
    ("LayerNorm width", lambda: LayerNorm(4)(x(3, 5)), ValueError, r"x must have width d_model=4, got shape \(3, 5\)"),
    ("RMSNorm eps", lambda: RMSNorm(4, eps=0.0), ValueError, "eps must be above 0, got 0.0"),
    ("RMSNorm width", lambda: RMSNorm(4)(x(3, 5)), ValueError, r"x must have width d_model=4, got shape \(3, 5\)"),
    ("inner size", lambda: FeedForward(4, 0), ValueError, "d_ff must be at least 1, got 0"),
    ("activation", lambda: FeedForward(4, 8, activation="tanh"), ValueError, "activation must be one of .*got 'tanh'"),
    ("feed width", lambda: FeedForward(4, 8)(x(3, 5)), ValueError, r"x must have width d_model=4, got shape \(3, 5\)"),
    ("gated dropout", lambda: GatedFeedForward(4, 8, dropout=-0.1), ValueError, r"dropout must be in .*got -0.1"),
    ("gated ids", lambda: GatedFeedForward(4, 8)(ids(3, 4)), TypeError, "x must be floating point, got torch.int64"),
    ("pre dropout", lambda: PreNorm(FeedForward(4, 8), LayerNorm(4), 1.0), ValueError, r"dropout must be in .*got 1.0"),
    ("post dropout", lambda: PostNorm(FeedForward(4, 8), LayerNorm(4), 2), ValueError, r"dropout must be in .*got 2"),
    ("one norm for all", lambda: block(norm=LayerNorm(8)), TypeError, "norm must make a norm.*got a LayerNorm"),
    ("memory unwanted", lambda: block()(x(1, 3, 8), x(1, 3, 8)), ValueError, "memory is given, but this block has no"),
    ("memory missing", lambda: block(cross_attention=heads())(x(1, 3, 8)), ValueError, "memory is None, but .*has a"),
]

MODELS = [
    ("GPT vocabulary", lambda: gpt_config(vocab_size=0), ValueError, "vocab_size must be at least 1, got 0"),
    ("GPT width", lambda: gpt_config(d_model=None), TypeError, "d_model must be an int, got None"),
    ("GPT heads", lambda: gpt_config(n_heads=3), ValueError, "d_model must be divisible by n_heads, got d_model=8"),
    ("GPT kv heads", lambda: gpt_config(n_kv_heads=3), ValueError, "n_heads must be divisible by n_kv_heads"),
    ("GPT positions", lambda: gpt_config(positions="rope"), ValueError, "positions must be one of .*got 'rope'"),
    ("GPT norm", lambda: gpt_config(norm="batch"), ValueError, "norm must be one of layer, rms, got 'batch'"),
    ("GPT inner", lambda: gpt_config(feed_forward="tanh"), ValueError, "feed_forward must be one of .*got 'tanh'"),
    ("GPT dropout", lambda: gpt_config(dropout=1.0), ValueError, r"dropout must be in \[0, 1\), got 1.0"),
    ("GPT eps", lambda: gpt_config(norm_eps=0.0), ValueError, "norm_eps must be above 0, got 0.0"),
    ("GPT base", lambda: gpt_config(rope_base=-5.0), ValueError, "rope_base must be above 0, got -5.0"),
    ("GPT odd head", lambda: gpt_config(d_model=6, positions="rotary"), ValueError, "d_head must be even.*got 3"),
    ("odd waves GPT", lambda: gpt_config(d_model=9, n_heads=3, positions="sinusoidal"), ValueError, "d_model .*even"),
    ("id too large", lambda: gpt()(ids(1, 3) + 11), ValueError, r"ids must be in \[0, 11\), got values from 11 to 11"),
    ("id negative", lambda: gpt()(ids(1, 3) - 1), ValueError, r"ids must be in \[0, 11\), got values from -1 to -1"),
    ("ids float", lambda: gpt()(x(1, 3)), TypeError, "ids must be int32 or int64, got torch.float32"),
    ("ids rank", lambda: gpt()(ids(3)), ValueError, r"ids must have 2 axes \(batch, tokens\), got shape \(3,\)"),
    ("ids list", lambda: gpt()([[1, 2]]), TypeError, "ids must be a tensor, got list"),
    ("ids empty", lambda: gpt()(ids(1, 0)), ValueError, r"ids is empty, shape \(1, 0\)"),
    ("too long", lambda: gpt()(ids(1, 9)), ValueError, "ids must have at most max_len=8 tokens, got 9"),
    ("cached too long", lambda: (m := gpt())(ids(1, 4), cache=after(5, m)), ValueError, "max_len=8 tokens, got 9"),
    ("GPT mask", lambda: gpt()(ids(2, 3), mask=one(2, 3)), TypeError, "mask must be boolean .*got torch.float32"),
    ("GPT mask shape", lambda: gpt()(ids(2, 3), mask=yes(3, 3)), ValueError, r"mask .*= \(2, 3\), got \(3, 3\)"),
    (
        "mask without past",
        lambda: (m := gpt())(ids(1, 1), mask=yes(1, 1), cache=after(2, m)),
        ValueError,
        r"mask must have shape \(batch, all tokens\) = \(1, 3\), got \(1, 1\)",
    ),
    ("cache layers", lambda: gpt()(ids(1, 3), cache=KVCache(3)), ValueError, "a KVCache of 2 layers.*got 3 layers"),
    ("cache kind", lambda: gpt()(ids(1, 3), cache=LayerCache()), ValueError, "must be a KVCache .*got LayerCache"),
    ("cache batch", lambda: (m := gpt())(ids(2, 1), cache=after(2, m)), ValueError, r"cache's .*got \(2, 2, 1, 4\)"),
    ("BERT size", lambda: bert_config(n_segments=0), ValueError, "n_segments must be at least 1, got 0"),
    ("BERT heads", lambda: bert_config(n_heads=3), ValueError, "d_model must be divisible by n_heads"),
    ("BERT eps", lambda: bert_config(norm_eps=-1e-5), ValueError, "norm_eps must be above 0, got -1e-05"),
    ("BERT long", lambda: bert()(ids(1, 9)), ValueError, "ids must have at most max_len=8 tokens, got 9"),
    ("BERT id", lambda: bert()(ids(1, 3) + 11), ValueError, r"ids must be in \[0, 11\)"),
    ("BERT mask", lambda: bert()(ids(1, 3), mask=ids(1, 3)), TypeError, "mask must be boolean .*got torch.int64"),
    ("BERT mask shape", lambda: bert()(ids(1, 3), mask=yes(1, 4)), ValueError, r"mask .*= \(1, 3\), got \(1, 4\)"),
    ("segment", lambda: bert()(ids(1, 3), segments=ids(1, 3) + 2), ValueError, r"segments must be in \[0, 2\).* to 2"),
    ("segments", lambda: bert()(ids(1, 3), segments=ids(1, 2)), ValueError, r"segments .*\(1, 3\), got \(1, 2\)"),
    ("sentence pair", lambda: bert().next_sentence(ids(3)), ValueError, r"ids must have 2 axes .*got shape \(3,\)"),
    ("pooled mask", lambda: BertEncoder(bert_config()).pool(x(1, 3, 8), mask=ids(1, 2) > 0), ValueError,
     r"mask must have shape .*\(1, 2\)"),
    ("pooled rank", lambda: BertEncoder(bert_config()).pool(x(3, 8)), ValueError, "hidden must have 3 axes"),
    ("T5 head", lambda: pair_config(d_head=0), ValueError, "d_head must be at least 1, got 0"),
    ("T5 style", lambda: pair_config(style="bart"), ValueError, "style must be one of t5, vaswani, got 'bart'"),
    ("T5 inner", lambda: pair_config(feed_forward="silu"), ValueError, "feed_forward must be one of geglu, relu"),
    ("T5 odd", lambda: pair_config(style="vaswani", d_model=9), ValueError, "d_model must be even.*got 9"),
    ("source id", lambda: pair().encode(ids(1, 3) + 11), ValueError, r"ids must be in \[0, 11\)"),
    ("target id", lambda: pair()(ids(1, 3), ids(1, 3) + 11), ValueError, r"target_ids must be in \[0, 11\)"),
    ("source long", lambda: pair().encode(ids(1, 9)), ValueError, "ids must have at most max_len=8 tokens, got 9"),
    ("target long", lambda: pair()(ids(1, 3), ids(1, 9)), ValueError, "target_ids must have at most max_len=8 .*got 9"),
    (
        "target long through the cache",
        lambda: [m.decode(ids(1, 5), x(1, 3, 8), cache=c) for m, c in [(pair(), KVCache(2))] for _ in range(2)],
        ValueError,
        "target_ids must have at most max_len=8 tokens, got 10",
    ),
    ("source mask", lambda: pair()(ids(1, 3), ids(1, 2), mask=one(1, 3)), TypeError, "mask must be boolean"),
    ("source mask shape", lambda: pair().encode(ids(1, 3), mask=yes(1, 3, 3)), ValueError, r"= \(1, 3\).*\(1, 3, 3\)"),
    ("memory mask", lambda: pair().decode(ids(1, 2), x(1, 3, 8), mask=yes(1, 2)), ValueError, r"= \(1, 3\).*\(1, 2\)"),
    ("target mask", lambda: pair()(ids(1, 3), ids(1, 2), target_mask=yes(1, 3)), ValueError, r"target_mask .*\(1, 2\)"),
    ("memory", lambda: pair().decode(ids(1, 2), x(1, 3, 6)), ValueError, "memory must have width d_model=8, got 6"),
    ("pair batches", lambda: pair()(ids(2, 3), ids(1, 2)), ValueError, "memory must have the batch of x, 1, got 2"),
    ("T5 cache", lambda: pair().decode(ids(1, 2), x(1, 3, 8), cache=KVCache(1)), ValueError, "of 2 layers.*got 1"),
]

GENERATION = [
    ("several prompts", lambda: run(generate(gpt(), ids(2, 3), 1)), ValueError, r"ids must be one prompt.*\(2, 3\)"),
    ("prompt list", lambda: run(generate(gpt(), [1, 2], 1)), TypeError, "ids must be a tensor, got list"),
    ("prompt floats", lambda: run(generate(gpt(), x(1, 2), 1)), TypeError, "ids must be int32.*torch.float32"),
    ("empty prompt", lambda: run(generate(gpt(), ids(1, 0), 1)), ValueError, r"ids is empty, shape \(1, 0\)"),
    ("no tokens", lambda: run(generate(gpt(), ids(1, 3), 0)), ValueError, "n_tokens must be at least 1, got 0"),
    ("cold", lambda: run(generate(gpt(), ids(1, 3), 1, temperature=-1.0)), ValueError, "temperature must .*got -1.0"),
    ("NaN heat", lambda: run(generate(gpt(), ids(1, 3), 1, temperature=nan)), ValueError, "temperature .*got nan"),
    ("stop id", lambda: run(generate(gpt(), ids(1, 3), 1, stop_ids=5)), TypeError, "stop_ids must be .*got 5"),
    ("encoder", lambda: run(generate(bert(), ids(1, 3), 1)), TypeError, "model must have blocks.*got BERT"),
    ("NaN logits", lambda: run(generate(broken(gpt()), ids(1, 3), 1)), ValueError, "logits must be .* 11 NaN"),
    ("beyond the end", lambda: next(generate(gpt(), ids(1, 3), 7)), ValueError, "max_len=8 tokens, got 9 to read: 3"),
    ("hot", lambda: run(generate(gpt(), ids(1, 3), 1, temperature=float("inf"))), ValueError, "finite, got inf"),
    ("heat text", lambda: run(generate(gpt(), ids(1, 3), 1, temperature="1")), TypeError, "temperature must .*got '1'"),
    ("k of generate", lambda: run(generate(gpt(), ids(1, 3), 1, temperature=1.0, top_k=0)), ValueError, "k .*got 0"),
    ("cold k", lambda: run(generate(gpt(), ids(1, 3), 1, top_k=2.5)), TypeError, "top_k must be an int, got 2.5"),
    ("cold p", lambda: run(generate(gpt(), ids(1, 3), 1, top_p=1.5)), ValueError, "top_p must be .*, got 1.5"),
    ("cold min p", lambda: generate_batch(gpt(), [[1]], 1, min_p=0), ValueError, "min_p must be above 0 .*, got 0"),
    ("cold guess", lambda: guess(min_p=-1), ValueError, "min_p must be above 0 .*, got -1"),
    ("penalty", lambda: run(generate(gpt(), ids(1, 3), 1, repetition_penalty=0.0)), ValueError, "penalty .*got 0.0"),
]

FILTERS = [
    ("k zero", lambda: top_k(x(4), 0), ValueError, "k must be at least 1, got 0"),
    ("k float", lambda: top_k(x(4), 2.0), TypeError, r"k must be an int, got 2.0 \(float\)"),
    ("k integers", lambda: top_k(ids(4), 2), TypeError, "logits must be floating point, got torch.int64"),
    ("k list", lambda: top_k([1.0, 2.0], 1), TypeError, "logits must be a tensor, got list"),
    ("k of none", lambda: top_k(x(2, 0), 1), ValueError, r"logits must be .* not empty, got shape \(2, 0\)"),
    ("k scalar", lambda: top_k(x(1)[0], 1), ValueError, r"logits must be \(..., V\) .*got shape \(\)"),
    ("p zero", lambda: top_p(x(4), 0.0), ValueError, "p must be above 0 and at most 1, got 0.0"),
    ("p above one", lambda: top_p(x(4), 1.1), ValueError, "p must be above 0 and at most 1, got 1.1"),
    ("p NaN", lambda: top_p(x(4), nan), ValueError, "p must be above 0 and at most 1, got nan"),
    ("p text", lambda: top_p(x(4), "0.9"), TypeError, r"p must be a number, got '0.9' \(str\)"),
    ("least p", lambda: min_p(x(4), -0.1), ValueError, "p must be above 0 and at most 1, got -0.1"),
    ("least p None", lambda: min_p(x(4), None), TypeError, "p must be a number, got None"),
    ("no penalty", lambda: repetition_penalty(x(4), ids(2), 0.0), ValueError, "penalty must be above 0, got 0.0"),
    ("penalty rows", lambda: repetition_penalty(x(2, 4), ids(3), 2.0), ValueError, r"last axis.*\(3,\) and \(2, 4\)"),
    ("penalty id", lambda: repetition_penalty(x(4), ids(2) + 4, 2.0), ValueError, r"ids must be in \[0, 4\)"),
    ("penalty ids", lambda: repetition_penalty(x(4), x(2), 2.0), TypeError, "ids must be int32 or int64"),
    ("sample cold", lambda: sample(x(4), temperature=-0.5), ValueError, "temperature must be at least 0 .*got -0.5"),
    ("sample p", lambda: sample(x(4), top_p=2), ValueError, "p must be above 0 and at most 1, got 2"),
    ("sample ids", lambda: sample(ids(4)), TypeError, "logits must be floating point, got torch.int64"),
    ("all NaN", lambda: distribution(x(2, 3) + nan), ValueError, r"logits must be numbers.*6 NaN and 0 \+inf of 6"),
    ("certain", lambda: distribution(torch.tensor([0.0, torch.inf])), ValueError, r"0 NaN and 1 \+inf of 2"),
    ("impossible", lambda: distribution(x(3) - torch.inf), ValueError, "not all -inf"),
    ("no logits", lambda: distribution(x(2, 0)), ValueError, r"logits must be .* not empty, got shape \(2, 0\)"),
]

DECODERS = [
    ("no prompts", lambda: generate_batch(gpt(), [], 1), ValueError, "prompts is empty"),
    ("an empty prompt", lambda: generate_batch(gpt(), [[1], []], 1), ValueError, r"prompts\[1\] must be .*\(0,\)"),
    ("one flat prompt", lambda: left_pad([1, 2]), ValueError, r"prompts\[0\] must be .* one axis, got shape \(\)"),
    ("prompts of floats", lambda: left_pad([[1], [0.5]]), TypeError, r"prompts\[1\] must be int32 or int64"),
    ("prompt of batch", lambda: left_pad([ids(1, 3)]), ValueError, r"prompts\[0\] must be .*got shape \(1, 3\)"),
    ("batch tokens", lambda: generate_batch(gpt(), [[1]], 0), ValueError, "n_tokens must be at least 1, got 0"),
    ("batch stop", lambda: generate_batch(gpt(), [[1]], 1, stop_ids=2), TypeError, "stop_ids must be .*got 2"),
    ("batch id", lambda: generate_batch(gpt(), [[1], [11, 2]], 1), ValueError, r"ids must be in \[0, 11\)"),
    ("batch end", lambda: generate_batch(gpt(), [[1], [1] * 7], 3), ValueError, "max_len=8 tokens, got 9"),
    ("batch model", lambda: generate_batch(bert(), [[1]], 1), TypeError, "model must have blocks.*got BERT"),
    ("no beams", lambda: beam_search(gpt(), ids(1, 3), 2, 0), ValueError, "n_beams must be at least 1, got 0"),
    ("beam prompts", lambda: beam_search(gpt(), ids(2, 3), 2, 2), ValueError, r"ids must be one prompt.*\(2, 3\)"),
    ("beam empty", lambda: beam_search(gpt(), ids(1, 0), 2, 2), ValueError, r"ids is empty, shape \(1, 0\)"),
    ("beam stop", lambda: beam_search(gpt(), ids(1, 3), 2, 2, stop_ids=1), TypeError, "stop_ids must be .*got 1"),
    ("beam model", lambda: beam_search(bert(), ids(1, 3), 2, 2), TypeError, "model must have blocks.*got BERT"),
    ("beam NaN", lambda: beam_search(broken(gpt()), ids(1, 3), 2, 2), ValueError, "logits must be numbers.*11 NaN"),
    ("beam end", lambda: beam_search(gpt(), ids(1, 3), 7, 2), ValueError, "max_len=8 tokens, got 9 to read"),
    (
        "length penalty",
        lambda: beam_search(gpt(), ids(1, 3), 2, 2, length_penalty=-1.0),
        ValueError,
        "length_penalty must be at least 0 and finite, got -1.0",
    ),
    (
        "length penalty None",
        lambda: beam_search(gpt(), ids(1, 3), 2, 2, length_penalty=None),
        TypeError,
        "length_penalty must be a number, got None",
    ),
    ("hypothesis", lambda: Hypothesis([1]), TypeError, "missing 1 required positional argument: 'score'"),
    ("no guesses", lambda: guess(n_draft=0), ValueError, "n_draft must be at least 1, got 0"),
    ("guessed tokens", lambda: guess(n_tokens=0), ValueError, "n_tokens must be at least 1, got 0"),
    ("guess prompts", lambda: guess(prompt=ids(2, 3)), ValueError, r"ids must be one prompt.*\(2, 3\)"),
    ("guess vocabulary", lambda: guess(draft=gpt(vocab_size=9)), ValueError, "same vocabulary, got sizes 11 and 9"),
    ("guess target", lambda: guess(target=bert()), TypeError, "target must have blocks.*got BERT"),
    ("guess draft", lambda: guess(draft=bert()), TypeError, "draft must have blocks.*got BERT"),
    ("guess cold", lambda: guess(temperature=-1.0), ValueError, "temperature must be at least 0 .*got -1.0"),
    ("guess stop", lambda: guess(stop_ids=3), TypeError, "stop_ids must be .*got 3"),
    ("guess end", lambda: guess(n_tokens=7), ValueError, "target takes max_len=8 tokens, got 9"),
    ("draft end", lambda: guess(draft=gpt(max_len=3)), ValueError, "draft takes max_len=3 tokens, got 4"),
    ("one stop text", lambda: run(stream_text([1], str, "END")), TypeError, "stop must be a collection .*got 'END'"),
    ("stop numbers", lambda: run(stream_text([1], str, [5])), TypeError, r"stop must be a collection .*got \[5\]"),
    ("stop empty", lambda: run(stream_text([1], str, ["a", ""])), ValueError, "stop must hold no empty string"),
    ("crop below", lambda: KVCache(2).crop(-1), ValueError, "length must be at least 0, got -1"),
    ("crop half", lambda: LayerCache().crop(1.5), TypeError, "length must be an int, got 1.5"),
    ("rows list", lambda: KVCache(2).select([0]), TypeError, "rows must be a tensor, got list"),
    ("no such row", lambda: after(2, gpt()).select(ids(2) + 1), ValueError, r"rows must be in \[0, 1\), .* 1 to 1"),
]

PRETRAINING = [
    ("turn integers", lambda: orthogonalise(ids(2, 2)), TypeError, r"matrices must be real.*got torch.int64 of shape"),
    ("turn a vector", lambda: orthogonalise(x(3)), TypeError, r"with two axes or more, got torch.float32"),
    ("Muon's vectors", lambda: Muon([{"params": [torch.nn.Parameter(x(3))], "momentum": 0.9}]), ValueError,
     r"matrices must have two axes, got shape \(3,\)"),
    ("Muon's memory", lambda: Muon([{"params": [torch.nn.Parameter(x(3, 3))], "momentum": 1.0}]), ValueError,
     r"momentum must be in \[0, 1\), got 1.0"),
    ("Muon without matrices", lambda: muon(torch.nn.LayerNorm(3)), ValueError, "model must have matrices other than"),
    ("no decay", lambda: warmup_stable_decay(1, warmup=2, decay=0, total=9, peak=1.0), ValueError,
     "decay must be from 1 to total - warmup = 7, got 0"),
    ("loss shape", lambda: loss(x(2, 3, 5), ids(2, 4)), ValueError, r"targets must be .*\(2, 4\) for logits \(2, 3"),
    ("loss target", lambda: loss(x(2, 5), ids(2) + 5), ValueError, r"targets must be in \[0, 5\), got values from 5"),
    ("loss negative", lambda: loss(x(2, 5), ids(2) - 1), ValueError, r"targets must be in \[0, 5\), got .* from -1"),
    ("loss floats", lambda: loss(x(2, 5), x(2)), TypeError, "targets must be int32 or int64, got torch.float32"),
    ("loss ids", lambda: loss(ids(2, 5), ids(2)), TypeError, "logits must be floating point, got torch.int64"),
    ("loss empty", lambda: loss(x(0, 5), ids(0)), ValueError, r"targets must be one for each position, got \(0,\)"),
    ("model loss", lambda: model_loss(gpt(), ids(1, 3), ids(1, 4)), ValueError, r"targets must be .*got \(1, 4\)"),
    ("causal one", lambda: causal_lm(ids(2, 1)), ValueError, r"tokens must be \(batch, at least 2.*got shape \(2, 1\)"),
    ("causal rank", lambda: causal_lm(ids(3)), ValueError, r"tokens must be \(batch, .*got shape \(3,\)"),
    ("causal mask", lambda: causal_lm(ids(1, 3), mask=one(1, 3)), TypeError, "mask must be boolean .*torch.float32"),
    ("masked id", lambda: masked(ids(1, 3) + 9), ValueError, r"tokens must be in \[0, 9\), got values from 9 to 9"),
    ("masked rate", lambda: masked(rate=1.0), ValueError, r"rate must be in \[0, 1\), got 1.0"),
    ("masked shares", lambda: masked(random=0.6, keep=0.5), ValueError, "random and keep must .*got 0.6 and 0.5"),
    ("masked mask", lambda: masked(mask_id=9), ValueError, r"mask_id must be in \[0, 9\), got 9"),
    ("masked vocabulary", lambda: masked_lm(ids(1, 3), vocab_size=0, mask_id=0), ValueError, "vocab_size must be at"),
    ("masked empty", lambda: masked(ids(1, 0)), ValueError, r"tokens is empty, shape \(1, 0\)"),
    ("pairs short", lambda: pairs(max_len=4), ValueError, "max_len must be at least 5 .*got 4"),
    ("pairs none", lambda: pairs(n=0), ValueError, "n_pairs must be at least 1, got 0"),
    ("pairs alone", lambda: pairs([[[5], [6]]]), ValueError, "documents must be at least two, none empty"),
    ("pairs single", lambda: pairs([[[5]], [[6]]]), ValueError, "documents must be .* one of two sentences"),
    ("pairs empty", lambda: sentence_pairs([[[5], []], [[6]]], 1, **PAIR_IDS), ValueError, "no sentence empty"),
    ("replaced shape", lambda: replace_tokens(ids(1, 3), ids(1, 2), x(1, 3, 5)), ValueError, "masked_targets must be"),
    ("replaced logits", lambda: replace_tokens(ids(1, 3), ids(1, 3), x(1, 2, 5)), ValueError, r"logits \(1, 2, 5\)"),
    ("replaced mask", lambda: replace_tokens(ids(1, 3), ids(1, 3), x(1, 3, 5), mask=yes(3)), ValueError, r"got \(3,\)"),
    ("replaced label", lambda: replaced_token_loss(x(1, 3), ids(1, 3) + 2), ValueError, r"targets must be in \[0, 2\)"),
    ("replaced logit", lambda: replaced_token_loss(x(1, 3, 2), ids(1, 3)), ValueError, r"for logits \(1, 3, 2\)"),
    ("spans short", lambda: spans(ids(1, 1)), ValueError, r"tokens must be .*at least 2 tokens\), got shape \(1, 1\)"),
    ("spans rate", lambda: spans(rate=1.5), ValueError, r"rate must be in \[0, 1\), got 1.5"),
    ("spans length", lambda: spans(mean_span=0.5), ValueError, "mean_span must be at least 1, got 0.5"),
    ("few sentinels", lambda: spans(sentinel_ids=[9]), ValueError, r"sentinel_ids must be at least 2 .*got \[9\]"),
    ("same sentinels", lambda: spans(sentinel_ids=[9, 9, 8]), ValueError, "sentinel_ids must .*different"),
    ("sentinel text", lambda: span_corruption(ids(1, 9), sentinel_ids=[0, 1]), ValueError, "tokens must not hold any"),
    ("shift list", lambda: shift_right([1, 2], 0), TypeError, "targets must be a tensor, got list"),
    ("recipe's model", lambda: recipe(model="gpt2"), TypeError, "model must be a GPTConfig, got str"),
    ("recipe's memory", lambda: recipe(beta2=1.5), ValueError, "beta2 .* got 1.5"),
    ("recipe's documents", lambda: recipe(n_held_out=0), ValueError, "n_held_out must be at least 1, got 0"),
    ("run of no recipe", lambda: Run("shakespeare"), TypeError, "recipe must be a Recipe, got str"),
    ("trained on no recipe", lambda: trained("shakespeare"), TypeError, "recipe must be a Recipe, got str"),
    ("cosine warm-up", lambda: warmup_cosine(1, warmup=9, total=9, peak=1.0), ValueError, "warmup .*- 1 = 8, got 9"),
    ("cosine floor", lambda: warmup_cosine(1, warmup=1, total=9, peak=1.0, floor=2.0), ValueError, "floor .*peak=1.0"),
    ("linear step", lambda: warmup_linear(-1, warmup=1, total=9, peak=1.0), ValueError, "step must be at least 0"),
    ("linear peak", lambda: warmup_linear(1, warmup=1, total=9, peak=0.0), ValueError, "peak must be above 0, got 0.0"),
    ("linear total", lambda: warmup_linear(1, warmup=0, total=0, peak=1.0), ValueError, "total must be at least 1"),
    ("level", lambda: warmup_stable_decay(1, warmup=4, decay=6, total=9, peak=1.0), ValueError, "decay .*= 5, got 6"),
    ("turned", lambda: orthogonalise(ids(3, 3)), TypeError, r"matrices must be real, .*int64 of shape \(3, 3\)"),
    ("turned vector", lambda: orthogonalise(x(3)), TypeError, r"matrices must be real, .*float32 of shape \(3,\)"),
    ("muon's matrices", lambda: Muon([group(x(3))]), ValueError, r"matrices must have two axes, got shape \(3,\)"),
    ("muon's memory", lambda: Muon([group(x(3, 3), 1.5)]), ValueError, "momentum .*got 1.5"),
    ("muon without matrices", lambda: muon(torch.nn.Embedding(3, 2)), ValueError, "matrices other than embeddings"),
    ("decay", lambda: weight_decay_groups(gpt(), -0.1), ValueError, "weight_decay must be at least 0, got -0.1"),
    ("all frozen", lambda: adamw(gpt().requires_grad_(False)), ValueError, "model must have parameters that require"),
    ("batches rank", lambda: Batches(ids(3, 9), batch_size=1, length=3), TypeError, "tokens must .*int64 of shape"),
    ("batches floats", lambda: text_batches(x(99)), TypeError, r"tokens must be .*got torch.float32 of shape \(99,\)"),
    ("batches short", lambda: text_batches(ids(13)), ValueError, "at least one batch of 2 x 5, .*: 14 tokens, got 13"),
    ("batches seed", lambda: text_batches(seed=-1), ValueError, "seed must be an int of at least 0, got -1"),
    ("batches rank no", lambda: text_batches(rank=2, world_size=2), ValueError, r"rank must be in \[0, 2\), got 2"),
    ("batches shares", lambda: text_batches(world_size=3), ValueError, "batch_size .* world_size=3, got 2"),
    ("batches state", lambda: text_batches().load_state({"seed": 1}), ValueError, r"state must be .*got {'seed': 1}"),
    ("batches no state", lambda: text_batches().load_state(None), TypeError, "state must be a dict, got NoneType"),
    (
        "batches of another text",
        lambda: text_batches().load_state(text_batches(ids(50)).state()),
        ValueError,
        "state must be .*'n_tokens': 99.*got .*'n_tokens': 50",
    ),
    ("train list", lambda: fit(model=[1]), TypeError, "model must be a module, got list"),
    ("train steps", lambda: fit(steps=0), ValueError, "steps must be at least 1, got 0"),
    ("train accumulate", lambda: fit(accumulate=1.5), TypeError, "accumulate must be an int, got 1.5"),
    ("train clip", lambda: fit(clip=0.0), ValueError, "clip must be above 0, got 0.0"),
    ("train rate", lambda: fit(lr=-1.0), ValueError, "lr must be finite and at least 0, got -1.0 at step 1"),
    ("train NaN rate", lambda: fit(lr=lambda step: nan), ValueError, "lr must be .*got nan at step 1"),
    ("train every", lambda: fit(evaluate_every=5), ValueError, "validation must be given for evaluate_every=5"),
    ("train never", lambda: fit(save_every=0), ValueError, "save_every must be at least 1, got 0"),
    ("train iterator", lambda: fit(validation=iter([])), TypeError, "validation must be a list .*got an iterator"),
    ("train nowhere", lambda: fit(save_every=1), ValueError, "folder must be given to save checkpoints"),
    ("train no state", lambda: fit(folder="run"), TypeError, "batches must have state.* got list"),
    ("train runs out", lambda: fit(steps=3), ValueError, "batches must last for all steps, but ran out in step 2"),
    ("train no pair", lambda: fit([ids(1, 3)]), TypeError, r"batches must yield .*got Tensor in step 1"),
    ("evaluate nothing", lambda: evaluate(gpt(), []), ValueError, "batches must hold at least one target, got none"),
    ("save NaN", lambda: save_checkpoint("run", broken(gpt())), ValueError, "model must be finite .*norm.w"),
    ("load nothing", lambda: load_checkpoint("no/run", gpt()), ValueError, "folder must hold .*'no/run'"),
    ("strategy", lambda: distribute(gpt(), "tensor"), ValueError, "strategy must be one of ddp, fsdp, got 'tensor'"),
]

TEXT = [
    ("bpe vocabulary", lambda: BPE({}, []), ValueError, "vocab may not be empty"),
    ("order", lambda: NGram(0), ValueError, "order must be at least 1, got 0"),
    ("add minus", lambda: NGram(2, k=-1), ValueError, "k must be at least 0 and finite, got -1"),
    ("add NaN", lambda: NGram(2, k=nan), ValueError, "k must be at least 0 and finite, got nan"),
    ("add None", lambda: NGram(2, k=None), TypeError, "k must be a number, got None"),
    ("fit a string", lambda: NGram(2).fit("a b"), TypeError, "sequences must be a list .*got the string 'a b'"),
    ("fit strings", lambda: NGram(2).fit(["a b"]), TypeError, r"sequences must .*\(text.split\(\) or .*got 'a b'"),
    ("fit one sequence", lambda: NGram(2).fit([1, 2]), TypeError, "sequences must hold words in a sequence.*got 1"),
    ("fit nothing", lambda: NGram(2).fit([[]]), ValueError, "sequences must hold at least one word, got none"),
    ("fit no vocabulary", lambda: NGram(2).fit([[1]], vocab=[]), ValueError, "vocab .* at least one word, got none"),
    ("fit a new word", lambda: NGram(2).fit([[5]], vocab=range(5)), ValueError, "vocabulary of 5, .*no <unk>, got 5"),
    ("fit never", lambda: NGram(2).fit([[1]], min_count=0), ValueError, "min_count must be at least 1, got 0"),
    ("not fitted", lambda: NGram(1).next_probs(), ValueError, r"no counts: call fit\(sequences\) first"),
    ("not fitted word", lambda: NGram(2).prob("a"), ValueError, r"no counts: call fit\(sequences\) first"),
    ("context", lambda: NGram(2).fit([["a"]]).prob("a", "the cat"), TypeError, "context must .* got 'the cat'"),
    ("score text", lambda: NGram(2).fit([["a"]]).log_probs("a"), TypeError, "sequence must .*, got 'a'"),
    ("draw none", lambda: NGram(2).fit([["a"]]).sample(0), ValueError, "n_words must be at least 1, got 0"),
    ("order of Kneser-Ney", lambda: KneserNey(0), ValueError, "order must be at least 1, got 0"),
    ("Kneser-Ney not fitted", lambda: KneserNey(2).log_probs(["a"]), ValueError, r"no counts: call fit\(sequences\)"),
    ("weight one", lambda: InterpolatedNGram(2, weights=[1]), ValueError, r"weights must be order=2 .*got \[1\]"),
    ("weight two", lambda: InterpolatedNGram(1, weights=[2]), ValueError, r"weights must .*\[0, 1\], got \[2\]"),
    (
        "no held-out",
        lambda: InterpolatedNGram(1).fit([[1]]).fit_weights([]),
        ValueError,
        "sequences must hold at least one word, got none",
    ),
    ("perplexity none", lambda: perplexity([]), ValueError, "log_probs must hold at least one number, got none"),
    ("perplexity of probs", lambda: perplexity([-1, 0.5]), ValueError, "log_probs must be at most 0, got 0.5"),
    ("bits NaN", lambda: bits_per_byte([nan], 3), ValueError, "log_probs must be at most 0, got nan"),
    ("no bytes", lambda: bits_per_byte([-1.0], 0), ValueError, "n_bytes must be at least 1, got 0"),
    ("shingle width", lambda: shingles("a", width=0), ValueError, "width must be at least 1, got 0"),
    ("shingles of bytes", lambda: shingles(b"a"), TypeError, "text must be a string, got bytes"),
    ("jaccard lists", lambda: jaccard([1], [1]), TypeError, "a and b must be sets, got list and list"),
    ("minhash a string", lambda: minhash("abc"), TypeError, "texts must be a sequence of strings, got 'abc'"),
    ("minhash none", lambda: minhash(["a"], n_hashes=0), ValueError, "n_hashes must be at least 1, got 0"),
    ("bands", lambda: candidate_pairs(minhash(["a"]), bands=7), ValueError, "by bands, got n_hashes=128, bands=7"),
    ("signatures", lambda: candidate_pairs([[1]]), TypeError, "signatures must be an array .* got list"),
    ("threshold", lambda: near_duplicates(["a"], threshold=0), ValueError, r"threshold .* in \(0, 1\], got 0"),
    ("near width", lambda: near_unique(["a"], width=1.5), TypeError, "width must be an int, got 1.5"),
    ("copies of numbers", lambda: exact_unique([1]), TypeError, r"texts must be a sequence of strings, got \[1\]"),
    ("read one path", lambda: read_documents("a.txt"), TypeError, "paths must be a list of files, got 'a.txt'"),
    ("read letters", lambda: read_documents([], separator=""), ValueError, "separator must be .* not empty, got ''"),
    ("read no chunk", lambda: read_documents([], chunk_chars=0), ValueError, "chunk_chars must be at least 1, got 0"),
    ("pack length", lambda: pack([], 0, 1), ValueError, "length must be at least 1, got 0"),
    ("pack end", lambda: pack([], 4, None), TypeError, "eos must be an int, got None"),
    ("pack text", lambda: next(pack(["ab"], 4, 1)), TypeError, "documents must hold ints, got 'a' in number 0"),
    ("pack one text", lambda: next(pack([[1], 2], 4, 1)), TypeError, "documents must be sequences .* 2 as number 1"),
    ("pack floats", lambda: next(pack([x(3)], 4, 1)), TypeError, "documents must hold ints, got 0.0 in number 0"),
    ("pad nothing", lambda: pad([], 0), ValueError, r"batch must hold .*got lengths \[\]"),
    ("pad empty", lambda: pad([[1], []], 0), ValueError, r"batch must hold .*got lengths \[1, 0\]"),
    ("pad a half", lambda: pad([[1], [0.5]], 0), TypeError, r"batch\[1\] must be int32 or int64, got torch.float32"),
    ("pad side", lambda: pad([[1]], 0, side="top"), ValueError, "side must be one of left, right, got 'top'"),
    ("pad id", lambda: pad([[1]], None), TypeError, "pad_id must be an int, got None"),
    ("bucket size", lambda: length_buckets([1], 0), ValueError, "batch_size must be at least 1, got 0"),
    ("bucket lengths", lambda: length_buckets([1, 0], 2), ValueError, r"lengths must be ints .*got \[1, 0\]"),
    ("Kneser-Ney order", lambda: KneserNey(0), ValueError, "order must be at least 1, got 0"),
    ("window", lambda: skip_gram_pairs(ids(4), 0), ValueError, "window must be at least 1, got 0"),
    ("few words", lambda: skip_gram_pairs(ids(1), 2), ValueError, r"ids must be .* at least 2 .*shape \(1,\)"),
    ("floats for words", lambda: skip_gram_pairs(x(4), 2), TypeError, "ids must be int32 or int64, got torch.float32"),
    ("noise of none", lambda: noise_distribution(x(3)), ValueError, "counts must be .* not all 0"),
    ("noise minus", lambda: noise_distribution(one(3) - 2), ValueError, "counts must be .* at least 0"),
    (
        "negatives",
        lambda: negative_sampling_loss(x(2, 3), x(2, 3), x(2, 5, 4)),
        ValueError,
        r"negatives must be .*got \(2, 3\), \(2, 3\), \(2, 5, 4\)",
    ),
    ("near id", lambda: cooccurrences(ids(3) + 5, 5), ValueError, r"ids must be in \[0, 5\), got values from 5"),
    ("near rank", lambda: cooccurrences(ids(3, 2), 5), ValueError, r"ids must be \(tokens,\) .*shape \(3, 2\)"),
    ("glove zero", lambda: glove(x(2)), ValueError, "counts must be above 0, got 0.0"),
    ("glove shape", lambda: glove(one(3)), ValueError, r"counts must be .*\(2,\), \(3,\)\]"),
    ("glove words", lambda: GloVe(0, 8), ValueError, "vocab_size must be at least 1, got 0"),
    ("skip-gram width", lambda: SkipGram(8, 2.5), TypeError, "d_model must be an int, got 2.5"),
    ("glove maximum", lambda: glove(one(2), x_max=0.0), ValueError, "x_max must be above 0, got 0.0"),
]

# fmt: on
ROWS = CHECKS + ATTENTION + HEADS + POSITIONS + LAYERS + MODELS + GENERATION + FILTERS + DECODERS + PRETRAINING + TEXT
ROOMS = (lmbook.text, lmbook.transformer, lmbook.generation, lmbook.pretraining)
PUBLIC = {name for room in ROOMS for name in room.__all__}
WITHOUT_ARGUMENTS = {
    "GPT2_PATTERN", "IGNORE", "SHAKESPEARE", "SHAKESPEARE_LARGE", "SMOLLM2_PATTERN", "Step", "UNK", "cache_folder",
    "rank_and_size", "start",  # nothing to refuse
    "bert_base", "bert_large", "gpt2_large", "gpt2_medium", "gpt2_small", "gpt2_xl", "llama2_7b", "llama3_8b",
    "minilm_l6", "smollm2_135m", "t5_base", "t5_large", "t5_small", "transformer_base",
}  # fmt: skip


@pytest.mark.parametrize("call, exception, pattern", [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_is_refused(call, exception, pattern):
    with pytest.raises(exception, match=pattern) as caught:
        call()
    assert caught.type is exception  # not a subclass that comes from somewhere deep inside


def test_the_table_covers_every_public_name():
    with open(__file__) as file:
        table = file.read().split("\nx, one, nan")[1].split("\nROWS =")[0]
    missing = {name for name in PUBLIC - WITHOUT_ARGUMENTS if not re.search(rf"\b{name}\b", table)}
    assert not missing
    assert PUBLIC >= WITHOUT_ARGUMENTS
    assert len({row[0] for row in ROWS}) == len(ROWS) >= 90
