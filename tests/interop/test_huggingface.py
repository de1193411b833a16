"""GPT-2, Llama and BERT from Hugging Face's files, compared layer by layer with `transformers` on the same files."""

import pytest
import torch

from lmbook.generation import generate
from lmbook.interop import load_bert, load_gpt2, load_llama, load_pretrained, load_qwen2
from lmbook.transformer import BERT, GPT, BertEncoder, EncoderDecoder, KVCache, llama2_7b

TIGHT = {"rtol": 0, "atol": 1e-10}


@pytest.fixture
def check_decoder(ids, streams):
    """Compare the stream after each block, after the last norm, and the logits."""
    return torch.no_grad()(lambda ours, theirs: _check_decoder(ours, theirs, ids, streams))


def _check_decoder(ours, theirs, ids, streams):
    expected = theirs(ids, output_hidden_states=True, use_cache=False)
    seen = streams(ours, lambda: ours.hidden(ids))
    assert len(seen) == len(expected.hidden_states) - 1 == 3
    for stream, hidden in zip(seen[:-1], expected.hidden_states[1:-1], strict=True):
        torch.testing.assert_close(stream, hidden, **TIGHT)
    torch.testing.assert_close(ours.hidden(ids), expected.hidden_states[-1], **TIGHT)
    torch.testing.assert_close(ours(ids), expected.logits, **TIGHT)
    assert expected.logits.std() > 0.5  # loud: the comparison has something to compare


@pytest.mark.parametrize(
    "changes",
    [{}, {"tie_word_embeddings": False}, {"n_inner": 30}, {"activation_function": "relu"}, {"layer_norm_epsilon": 0.1}],
    ids=str,
)
def test_gpt2(tmp_path, published, check_decoder, changes):
    theirs = published("GPT2LMHeadModel", **changes)
    ours = load_gpt2(tmp_path, dtype=torch.float64)
    check_decoder(ours, theirs)
    assert (ours.unembed.weight is ours.embed.weight) == changes.get("tie_word_embeddings", True)
    assert not ours.training


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1},
        {"rope_theta": 10000.0},
        {"rms_norm_eps": 0.1},
    ],
    ids=str,
)
def test_llama(tmp_path, published, exact, check_decoder, ids, changes):
    theirs = published("LlamaForCausalLM", **changes)
    ours = load_llama(tmp_path, dtype=torch.float64)
    with torch.no_grad():  # as it is, with norms and angles in float32
        torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=0, atol=1e-4)
    check_decoder(ours, exact(theirs))
    assert (ours.unembed.weight is ours.embed.weight) == changes.get("tie_word_embeddings", False)


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16, "rope_theta": 500.0}  # fmt: skip


@torch.no_grad()
def check_cached(ours, theirs, ids):
    """Greedy tokens, and the logits of every step, with both caches."""
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    expected = theirs.generate(ids[:1, :9], max_new_tokens=14, **options)
    tokens = list(generate(ours, ids[:1, :9], 14))
    assert tokens == expected[0, 9:].tolist()
    cache, past = KVCache(3), None
    for new in ids.split([9, 1, 4, 1, 2], dim=1):
        out = theirs(new, past_key_values=past, use_cache=True)
        past = out.past_key_values
        torch.testing.assert_close(ours(new, cache=cache), out.logits, **TIGHT)


@pytest.mark.parametrize("spelling", ["rope_parameters", "rope_scaling", "type"])
@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama_3_1(tmp_path, published, exact, rewrite, check_decoder, ids, spelling, factor):
    """Scaled rotary positions, as files of this year and of 2024 write them."""
    rope = LLAMA3 | {"factor": factor}
    theirs = exact(published("LlamaForCausalLM", rope_parameters=rope, tie_word_embeddings=True))
    rest = {key: value for key, value in rope.items() if key != "rope_theta"}
    if spelling == "rope_scaling":
        rewrite(rope_parameters=..., rope_scaling=rest, rope_theta=500.0)
    elif spelling == "type":
        rest["type"] = rest.pop("rope_type")
        rewrite(rope_parameters=rest | {"rope_theta": 500.0})
    ours = load_llama(tmp_path, dtype=torch.float64)
    check_decoder(ours, theirs)
    check_cached(ours, theirs, ids)
    rewrite(rope_parameters={"rope_theta": 500.0}, rope_scaling=None, rope_theta=...)
    assert (load_llama(tmp_path, dtype=torch.float64)(ids) - ours(ids)).abs().max() > 0.1


@pytest.mark.parametrize(
    "changes",
    [{}, {"tie_word_embeddings": True}, {"num_key_value_heads": 4}, {"rms_norm_eps": 0.1}, {"rope_parameters": LLAMA3}],
    ids=str,
)
def test_qwen2(tmp_path, published, exact, check_decoder, ids, changes):
    theirs = exact(published("Qwen2ForCausalLM", **changes))
    ours = load_qwen2(tmp_path, dtype=torch.float64)
    check_decoder(ours, theirs)
    check_cached(ours, theirs, ids)
    biases = {name.split(".")[-2] for name, _ in ours.named_parameters() if name.endswith("bias")}
    assert biases == {"w_q", "w_k", "w_v"}


def test_llama_and_gpt2_with_a_cache(tmp_path, published, exact, ids):
    theirs = exact(published("LlamaForCausalLM"))
    check_cached(load_pretrained(tmp_path, dtype=torch.float64), theirs, ids)
    theirs = published("GPT2LMHeadModel")
    check_cached(load_pretrained(tmp_path, dtype=torch.float64), theirs, ids)


@pytest.fixture
def padded(ids):
    """A batch with padding and two segments: our arguments, and those of `transformers`."""
    mask = torch.arange(ids.shape[1]) < torch.tensor([[17], [11]])
    segments = (torch.arange(ids.shape[1]) >= 7).long().expand(ids.shape)
    theirs = {"attention_mask": mask.long(), "token_type_ids": segments}
    return {"mask": mask, "segments": segments}, theirs


@torch.no_grad()
def check_encoder(ours, theirs, ids, padded, streams):
    options, their_options = padded
    expected = theirs(ids, **their_options, output_hidden_states=True)
    seen = streams(ours, lambda: ours(ids, **options))
    assert len(seen) == 3
    for stream, hidden in zip(seen, expected.hidden_states[1:], strict=True):
        torch.testing.assert_close(stream[options["mask"]], hidden[options["mask"]], **TIGHT)
    return expected


def test_bert_model(tmp_path, published, ids, padded, streams):
    theirs = published("BertModel")
    ours = load_bert(tmp_path, dtype=torch.float64)
    assert type(ours) is BertEncoder and not ours.training
    expected = check_encoder(ours, theirs, ids, padded, streams)
    with torch.no_grad():
        torch.testing.assert_close(ours.pool(ours(ids, **padded[0])), expected.pooler_output, **TIGHT)


def test_bert_for_pretraining(tmp_path, published, ids, padded, streams):
    theirs = published("BertForPreTraining")
    ours = load_bert(tmp_path, dtype=torch.float64)
    assert type(ours) is BERT and not ours.training
    check_encoder(ours.encoder, theirs.bert, ids, padded, streams)
    options, mask = padded[0], padded[0]["mask"]
    with torch.no_grad():
        expected = theirs(ids, **padded[1])
        torch.testing.assert_close(ours(ids, **options)[mask], expected.prediction_logits[mask], **TIGHT)
        torch.testing.assert_close(ours.next_sentence(ids, **options), expected.seq_relationship_logits, **TIGHT)
    assert ours.unembed.weight is ours.encoder.embed.weight


def test_bert_for_masked_lm_says_what_it_lacks(tmp_path, published, ids):
    theirs = published("BertForMaskedLM")
    ours = load_bert(tmp_path, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, **TIGHT)
    with pytest.raises(ValueError, match=r"holds no pooler, so there is no vector of a whole sequence"):
        ours.encoder.pool(ours.encoder(ids))
    ours.encoder.pooler = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"holds no next-sentence head"):
        ours.next_sentence(ids)


def test_names_of_the_first_bert_files(tmp_path, published, rewrite, ids):
    """gamma and beta, position_ids, and a second copy of the tied decoder, as in published files."""
    theirs = published("BertForPreTraining")

    def change(weights):
        for name in [name for name in weights if "LayerNorm" in name]:
            renamed = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            weights[renamed] = weights.pop(name)
        weights["bert.embeddings.position_ids"] = torch.arange(24)[None]
        weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"].clone()
        weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"].clone()

    rewrite(change)
    ours = load_bert(tmp_path, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(ids).prediction_logits
        torch.testing.assert_close(ours(ids), expected, **TIGHT)


def test_names_of_the_first_gpt2_files(tmp_path, published, rewrite, check_decoder):
    """No prefix, no tie_word_embeddings in the configuration, and the triangular masks among the weights."""
    theirs = published("GPT2LMHeadModel")

    def change(weights):
        for name in list(weights):
            weights[name.removeprefix("transformer.")] = weights.pop(name)
        for layer in range(3):
            weights[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 24, 24).tril()
            weights[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)

    rewrite(change, tie_word_embeddings=..., n_inner=..., scale_attn_weights=..., add_cross_attention=...)
    check_decoder(load_gpt2(tmp_path, dtype=torch.float64), theirs)


def test_configuration_of_the_first_llama_files(tmp_path, published, exact, rewrite, check_decoder):
    """rope_theta beside the others, or none at all for 10,000; no head_dim; frequencies among the weights."""
    theirs = exact(published("LlamaForCausalLM", num_key_value_heads=4))

    def change(weights):
        weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)

    old = {"rope_parameters": ..., "head_dim": ..., "num_key_value_heads": ..., "mlp_bias": ..., "attention_bias": ...}
    rewrite(change, rope_theta=500.0, rope_scaling=None, **old)
    check_decoder(load_llama(tmp_path, dtype=torch.float64), theirs)
    rewrite(rope_theta=...)
    assert load_llama(tmp_path).config.rope_base == llama2_7b().rope_base == 10000.0


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_shards(tmp_path, published, exact, check_decoder, name):
    theirs = published(name, max_shard_size="20kB")
    assert not (tmp_path / "model.safetensors").exists() and len(list(tmp_path.glob("model-*.safetensors"))) > 2
    check_decoder(load_pretrained(tmp_path, dtype=torch.float64), exact(theirs) if "Llama" in name else theirs)


@pytest.mark.parametrize(
    "name, kind",
    [
        ("GPT2LMHeadModel", GPT),
        ("LlamaForCausalLM", GPT),
        ("Qwen2ForCausalLM", GPT),
        ("BertModel", BertEncoder),
        ("T5ForConditionalGeneration", EncoderDecoder),
        ("MT5ForConditionalGeneration", EncoderDecoder),
    ],
)
def test_load_pretrained_goes_by_model_type(tmp_path, published, name, kind):
    published(name)
    model = load_pretrained(str(tmp_path))
    assert type(model) is kind
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_dtype_and_dropout(tmp_path, published, rewrite):
    published("GPT2LMHeadModel")
    rewrite(lambda weights: weights.update({name: tensor.half() for name, tensor in weights.items()}))
    dtypes = {None: torch.float16, torch.bfloat16: torch.bfloat16, torch.float64: torch.float64}
    for asked, expected in dtypes.items():
        assert {p.dtype for p in load_gpt2(tmp_path, dtype=asked).parameters()} == {expected}
    assert load_gpt2(tmp_path).config.dropout == 0.0
    assert load_pretrained(tmp_path, dropout=0.1).config.dropout == 0.1
    assert load_gpt2(tmp_path, dropout=0.1).blocks[0].self_attention.dropout.p == 0.1


def test_loaded_weights_are_our_own(tmp_path, published, ids):
    """They can be trained, copied and saved, and the file on disk stays as it was."""
    published("GPT2LMHeadModel")
    before = (tmp_path / "model.safetensors").read_bytes()
    model = load_gpt2(tmp_path, dtype=None)
    for parameter in model.parameters():
        assert parameter.is_leaf and parameter.requires_grad and parameter.is_contiguous()
    storages = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    assert len(storages) == len(list(model.parameters()))
    model(ids).sum().backward()
    with torch.no_grad():
        model.embed.weight.zero_()
    assert (tmp_path / "model.safetensors").read_bytes() == before
