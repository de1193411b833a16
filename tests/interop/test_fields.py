"""Fields of config.json and of GGUF files that change what a model computes: each is honoured or refused.

The list holds what is known to change an output, under every spelling seen, whether or not the family at hand has it.
"""

import pytest
import torch

from lmbook.interop import load_bert, load_gpt2, load_llama, load_qwen2, load_smollm2, load_t5

MODELS = {
    load_gpt2: "GPT2LMHeadModel",
    load_llama: "LlamaForCausalLM",
    load_qwen2: "Qwen2ForCausalLM",
    load_bert: "BertForPreTraining",
    load_t5: "T5ForConditionalGeneration",
}
ROPE = {"rope_theta": 500.0}
KINDS = ("linear", "dynamic", "yarn", "longrope", "su", "proportional", "mrope", "ntk")
REFUSED_BY_ALL = [
    # positions
    *({"rope_parameters": ROPE | {"rope_type": kind, "factor": 4.0}} for kind in KINDS),
    *({"rope_parameters": ROPE | {"type": kind, "factor": 4.0}} for kind in KINDS),
    *({"rope_scaling": {"rope_type": kind, "factor": 4.0}} for kind in KINDS),
    *({"rope_scaling": {"type": kind, "factor": 4.0}} for kind in KINDS),
    {"rope_scaling": {"factor": 4.0}},
    {"rope_scaling": {"type": "default", "mrope_section": [2, 1, 1]}},
    {"rope_scaling": 4.0},
    {"rope_parameters": {"full_attention": ROPE, "sliding_attention": {"rope_theta": 1e4}}},
    {"rope_parameters": ROPE | {"rope_type": "default", "partial_rotary_factor": 0.5}},
    {"rope_parameters": ROPE | {"attention_factor": 2.0}},
    {"partial_rotary_factor": 0.5},
    {"rotary_pct": 0.25},
    {"rotary_dim": 4},
    {"rope_interleaved": True},
    {"rope_local_base_freq": 1e4},
    {"no_rope_layers": [1, 1, 0]},
    {"use_rope": False},
    {"alibi": True},
    # what a token may look at
    {"use_sliding_window": True, "sliding_window": 4},
    {"sliding_window_pattern": 2},
    {"attention_chunk_size": 4},
    {"attention_window": [4]},
    {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    {"is_causal": False},
    {"block_sparse_window": 4},
    # scores and logits
    {"attn_logit_softcapping": 50.0},
    {"final_logit_softcapping": 30.0},
    {"query_pre_attn_scalar": 256},
    {"attention_multiplier": 0.1},
    {"attn_scale": 0.1},
    {"logits_scaling": 8.0},
    {"logit_scale": 0.0625},
    {"attn_temperature_tuning": True},
    {"clip_qkv": 8.0},
    # streams, norms and biases
    {"embedding_multiplier": 12.0},
    {"embedding_multiplier": 0},
    {"residual_multiplier": 0.2},
    {"scale_embedding": True},
    {"normalize_embedding": True},
    {"use_qk_norm": True},
    {"qk_norm": True},
    {"use_post_norm": True},
    {"use_parallel_residual": True},
    {"parallel_attn": True},
    {"norm_type": "layer_norm"},
    {"lm_head_bias": True},
    {"qkv_bias": [1]},
    # size and kind of the layers
    {"head_dim": 5},
    {"num_experts": 8},
    {"num_local_experts": 8, "num_experts_per_tok": 2},
    {"pruned_heads": {"0": [1]}},
    {"quantization_config": {"quant_method": "fp8"}},
    {"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}},
    {"per_layer_config": {"0": {"rope_theta": 1e4}}},
    {"unheard_of": 0.5},
]
REFUSED = {
    load_gpt2: [{"scale_attn_weights": False}, {"scale_attn_by_inverse_layer_idx": True}, {"add_cross_attention": True},
                {"activation_function": "silu"}, {"activation_function": "gelu_10"}, {"multi_query": True}],
    load_llama: [{"sliding_window": 4}, {"attention_bias": True}, {"mlp_bias": True}, {"hidden_act": "gelu"},
                 {"hidden_act": "relu2"}, {"rope_theta": "500"}, {"is_decoder": True}],
    load_qwen2: [{"use_sliding_window": True}, {"hidden_act": "gelu"}, {"use_mrope": True}, {"qk_layernorm": True}],
    load_bert: [{"sliding_window": 4}, {"position_embedding_type": "relative_key"}, {"is_decoder": True},
                {"hidden_act": "gelu_new"}, {"tie_word_embeddings": False}, {"embedding_size": 8},
                {"add_cross_attention": True}, {"is_encoder_decoder": True}],
    load_t5: [{"sliding_window": 4}, {"feed_forward_proj": "gelu"}, {"feed_forward_proj": "gated-silu"},
              {"dense_act_fn": "gelu"}, {"num_decoder_layers": 2}, {"relative_attention_num_buckets": 16},
              {"relative_attention_max_distance": 64}, {"layer_norm_epsilon": 1e-5}, {"is_encoder_decoder": False},
              {"tie_encoder_decoder": True}],
}  # fmt: skip
ACCEPTED = {
    load_gpt2: [{"activation_function": "gelu_pytorch_tanh"}, {"n_ctx": 24, "task_specific_params": {"a": {}}},
                {"reorder_and_upcast_attn": True}, {"attn_pdrop": 0.5}, {"id2label": {"0": "x"}, "eos_token_id": 5}],
    load_llama: [{"hidden_act": "swish"}, {"rope_scaling": None}, {"rope_scaling": {"rope_type": "default"}},
                 {"rope_scaling": {"type": "default"}}, {"rope_parameters": ROPE | {"rope_type": None}},
                 {"rope_parameters": ROPE | {"partial_rotary_factor": 1.0}}, {"sliding_window": None},
                 {"partial_rotary_factor": 1.0}, {"layer_types": ["full_attention"] * 3}, {"is_causal": True},
                 {"rope_interleaved": False, "is_llama_config": True, "pretraining_tp": 1},
                 {"torch_dtype": "bfloat16", "_name_or_path": "x", "transformers.js_config": {"dtype": "q4"}},
                 {"attn_logit_softcapping": None, "quantization_config": None, "use_qk_norm": False},
                 {"rope_theta": 500}, {"embedding_multiplier": 1.0, "logits_scaling": 1}],
    load_qwen2: [{"sliding_window": 4, "use_sliding_window": False}, {"max_window_layers": 2}, {"use_mrope": False}],
    load_bert: [{"gradient_checkpointing": True, "classifier_dropout": 0.5}, {"hidden_act": "gelu_python"},
                {"pooler_fc_size": 768, "pooler_type": "first_token_transform", "directionality": "bidi"}],
    load_t5: [{"n_positions": 512, "task_specific_params": {"a": {"prefix": "x: "}}, "output_past": True},
              {"initializer_factor": 0.05, "dropout_rate": 0.5, "decoder_start_token_id": 7}],
}  # fmt: skip


def label(value):
    return getattr(value, "__name__", None) or str(value)


@pytest.mark.parametrize("load", MODELS, ids=label)
def test_fields_that_no_loader_honours(tmp_path, published, rewrite, load):
    """In one test for each loader, since a model is made for it: the first field that passes is named."""
    published(MODELS[load])
    config = tmp_path / "config.json"
    good = config.read_text()
    load(tmp_path)
    for changes in [*REFUSED_BY_ALL, *REFUSED[load]]:
        rewrite(**changes)
        try:
            load(tmp_path)
        except ValueError as error:
            assert str(config) in str(error), (changes, error)
            assert any(name in str(error) or "rope" in name for name in changes), (changes, error)
        else:
            raise AssertionError(f"{load.__name__} ignores {changes}")
        config.write_text(good)


@pytest.mark.parametrize("load", MODELS, ids=label)
def test_fields_that_do_nothing_change_nothing(tmp_path, published, rewrite, load):
    published(MODELS[load])
    config = tmp_path / "config.json"
    good = config.read_text()
    ids = torch.arange(9)[None]
    arguments = (ids, ids) if load is load_t5 else (ids,)
    with torch.no_grad():
        expected = load(tmp_path, dtype=torch.float64)(*arguments)
        for changes in ACCEPTED[load]:
            rewrite(**changes)
            assert torch.equal(load(tmp_path, dtype=torch.float64)(*arguments), expected), changes
            config.write_text(good)


GGUF_REFUSED = [
    {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
    {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0},
    {"llama.rope.scaling.type": "longrope"},
    {"llama.rope.scaling.factor": 4.0},
    {"llama.rope.scaling.attn_factor": 2.0},
    {"llama.rope.scaling.original_context_length": 12},
    {"llama.rope.scale_linear": 4.0},
    {"llama.attention.sliding_window": 4},
    {"llama.attention.key_length": 16},
    {"llama.attention.value_length": 16},
    {"llama.attention.causal": False},
    {"llama.attention.scale": 0.1},
    {"llama.attention.clamp_kqv": 8.0},
    {"llama.attention.max_alibi_bias": 8.0},
    {"llama.attn_logit_softcapping": 50.0},
    {"llama.final_logit_softcapping": 30.0},
    {"llama.logit_scale": 0.5},
    {"llama.embedding_scale": 12.0},
    {"llama.residual_scale": 0.5},
    {"llama.expert_count": 8},
    {"llama.use_parallel_residual": True},
    {"llama.tensor_data_layout": "Meta AI original pth"},
    {"llama.attention.head_count_kv": [2, 2, 4]},
    {"llama.feed_forward_length": [40, 40, 80]},
    {"tokenizer.ggml.add_bos_token": True},
    {"tokenizer.ggml.add_eos_token": True},
    {"tokenizer.ggml.add_space_prefix": True},
    {"llama.unheard_of": 3},
]
GGUF_ACCEPTED = {
    "llama.rope.scaling.type": "none", "llama.rope.scale_linear": 1.0, "llama.attention.key_length": 8,
    "llama.attention.value_length": 8, "llama.expert_count": 0, "llama.attention.causal": True,
    "general.file_type": 3, "tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.chat_template": "{{ messages }}",
}  # fmt: skip


def test_gguf_fields(published, gguf_file):
    theirs = published("LlamaForCausalLM")
    for changes in GGUF_REFUSED:
        path = gguf_file(theirs, lambda fields, tensors, changes=changes: fields.update(changes))
        with pytest.raises(ValueError, match=f"{path}: "):
            load_smollm2(path)
            pytest.fail(f"load_smollm2 ignores {changes}")
    expected = load_smollm2(gguf_file(theirs))[0](torch.arange(9)[None])
    path = gguf_file(theirs, lambda fields, tensors: fields.update(GGUF_ACCEPTED))
    assert torch.equal(load_smollm2(path)[0](torch.arange(9)[None]), expected)
