"""What others call the parts of our models: their module -> ours, "#" standing for the number of a layer."""

_ATTENTION, _FEED_FORWARD = "blocks.#.self_attention", "blocks.#.feed_forward"

GPT2_MODULES = {
    "wte": "embed",
    "wpe": "positions",
    "h.#.ln_1": f"{_ATTENTION}.norm",
    "h.#.attn.c_attn": tuple(f"{_ATTENTION}.sublayer.w_{name}" for name in "qkv"),  # one matrix for all three
    "h.#.attn.c_proj": f"{_ATTENTION}.sublayer.w_o",
    "h.#.ln_2": f"{_FEED_FORWARD}.norm",
    "h.#.mlp.c_fc": f"{_FEED_FORWARD}.sublayer.w_in",
    "h.#.mlp.c_proj": f"{_FEED_FORWARD}.sublayer.w_out",
    "ln_f": "norm",
    "lm_head": "unembed",
}
LLAMA_MODULES = {
    "embed_tokens": "embed",
    "layers.#.input_layernorm": f"{_ATTENTION}.norm",
    "layers.#.self_attn.q_proj": f"{_ATTENTION}.sublayer.w_q",
    "layers.#.self_attn.k_proj": f"{_ATTENTION}.sublayer.w_k",
    "layers.#.self_attn.v_proj": f"{_ATTENTION}.sublayer.w_v",
    "layers.#.self_attn.o_proj": f"{_ATTENTION}.sublayer.w_o",
    "layers.#.post_attention_layernorm": f"{_FEED_FORWARD}.norm",
    "layers.#.mlp.gate_proj": f"{_FEED_FORWARD}.sublayer.w_gate",
    "layers.#.mlp.up_proj": f"{_FEED_FORWARD}.sublayer.w_in",
    "layers.#.mlp.down_proj": f"{_FEED_FORWARD}.sublayer.w_out",
    "norm": "norm",
    "lm_head": "unembed",
}
BERT_ENCODER_MODULES = {
    "embeddings.word_embeddings": "embed",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "segments",
    "embeddings.LayerNorm": "norm",
    "encoder.layer.#.attention.self.query": f"{_ATTENTION}.sublayer.w_q",
    "encoder.layer.#.attention.self.key": f"{_ATTENTION}.sublayer.w_k",
    "encoder.layer.#.attention.self.value": f"{_ATTENTION}.sublayer.w_v",
    "encoder.layer.#.attention.output.dense": f"{_ATTENTION}.sublayer.w_o",
    "encoder.layer.#.attention.output.LayerNorm": f"{_ATTENTION}.norm",
    "encoder.layer.#.intermediate.dense": f"{_FEED_FORWARD}.sublayer.w_in",
    "encoder.layer.#.output.dense": f"{_FEED_FORWARD}.sublayer.w_out",
    "encoder.layer.#.output.LayerNorm": f"{_FEED_FORWARD}.norm",
    "pooler.dense": "pooler",
}
BERT_MODULES = {
    **{theirs: f"encoder.{ours}" for theirs, ours in BERT_ENCODER_MODULES.items()},
    "cls.predictions.transform.dense": "transform",
    "cls.predictions.transform.LayerNorm": "norm",
    "cls.predictions": "unembed",  # the bias, which stands beside
    "cls.predictions.decoder": "unembed",  # a second copy of the embeddings, in some files
    "cls.seq_relationship": "is_next",
}
GGUF_LLAMA_MODULES = {
    "token_embd": "embed",
    "blk.#.attn_norm": f"{_ATTENTION}.norm",
    "blk.#.attn_q": f"{_ATTENTION}.sublayer.w_q",
    "blk.#.attn_k": f"{_ATTENTION}.sublayer.w_k",
    "blk.#.attn_v": f"{_ATTENTION}.sublayer.w_v",
    "blk.#.attn_output": f"{_ATTENTION}.sublayer.w_o",
    "blk.#.ffn_norm": f"{_FEED_FORWARD}.norm",
    "blk.#.ffn_gate": f"{_FEED_FORWARD}.sublayer.w_gate",
    "blk.#.ffn_up": f"{_FEED_FORWARD}.sublayer.w_in",
    "blk.#.ffn_down": f"{_FEED_FORWARD}.sublayer.w_out",
    "output_norm": "norm",
    "output": "unembed",
}


def _t5_stack(stack: str, *sublayers: tuple[str, str]) -> dict[str, str]:
    """Modules of the encoder or the decoder; sublayers are (theirs, ours) in order, the feed-forward last."""
    modules = {
        f"{stack}.embed_tokens": "embed",  # a second copy, in some files
        f"{stack}.block.#.layer.0.SelfAttention.relative_attention_bias": f"{stack}.bias",  # in the first block only
        f"{stack}.final_layer_norm": f"{stack}.norm",
    }
    for number, (theirs, ours) in enumerate([*sublayers, ("DenseReluDense", "feed_forward")]):
        layer, block = f"{stack}.block.#.layer.{number}", f"{stack}.blocks.#.{ours}"
        modules[f"{layer}.layer_norm"] = f"{block}.norm"
        parts = {name: f"w_{name}" for name in "qkvo"}
        if ours == "feed_forward":
            parts = {"wi": "w_in", "wi_0": "w_gate", "wi_1": "w_in", "wo": "w_out"}
        modules |= {f"{layer}.{theirs}.{part}": f"{block}.sublayer.{name}" for part, name in parts.items()}
    return modules


T5_MODULES = {
    "shared": "embed",
    **_t5_stack("encoder", ("SelfAttention", "self_attention")),
    **_t5_stack("decoder", ("SelfAttention", "self_attention"), ("EncDecAttention", "cross_attention")),
    "lm_head": "unembed",
}
T5_UNUSED = (r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)  # never read
# Tensors in published files that are no weights: GPT-2's triangular mask, Llama's frequencies, BERT's 0, 1, 2, ...
BUFFERS = (r"h\.\d+\.attn\.(masked_)?bias", r"(.*\.)?rotary_emb\.inv_freq", r"embeddings\.position_ids")
