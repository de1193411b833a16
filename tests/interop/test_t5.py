"""T5 and its kin from Hugging Face's files, compared layer by layer with `transformers` on the same files."""

import pytest
import torch

from lmbook.interop import load_pretrained, load_t5
from lmbook.transformer import EncoderDecoder, KVCache

TIGHT = {"rtol": 0, "atol": 1e-10}
FAMILIES = {
    "t5": ("T5ForConditionalGeneration", {}),
    "t5-1.1": ("T5ForConditionalGeneration", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "relu, not scaled": ("T5ForConditionalGeneration", {"tie_word_embeddings": False}),
    "gated, scaled": ("T5ForConditionalGeneration", {"feed_forward_proj": "gated-gelu"}),
    "mt5": ("MT5ForConditionalGeneration", {}),
}


@pytest.fixture
def target_ids():
    return torch.randint(61, (2, 11), generator=torch.Generator().manual_seed(2))


def untie(model):
    """Give a model of `transformers` the output layer of its own that published files of T5 1.1 have."""
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.shared.weight) * 0.3)
    return model.lm_head.weight.detach().clone()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", [False, True])
def test_every_layer(tmp_path, published, exact, rewrite, streams, ids, target_ids, family, head):
    name, changes = FAMILIES[family]
    if head and family in ("t5", "gated, scaled"):
        pytest.skip("these share one matrix")
    theirs = published(name, **changes)
    if head:
        rewrite(lambda weights: weights.update({"lm_head.weight": untie(theirs)}), tie_word_embeddings=False)
    theirs = exact(theirs)
    ours = load_t5(tmp_path, dtype=torch.float64)
    assert type(ours) is EncoderDecoder and not ours.training
    mask, target_mask = torch.ones_like(ids).bool(), torch.ones_like(target_ids).bool()
    mask[0, 12:], target_mask[1, 7:] = False, False
    with torch.no_grad():
        expected = theirs(
            input_ids=ids, attention_mask=mask.long(), decoder_input_ids=target_ids,
            decoder_attention_mask=target_mask.long(), output_hidden_states=True, use_cache=False,
        )  # fmt: skip
        seen = streams(ours.encoder, lambda: ours.encode(ids, mask=mask))
        memory = ours.encode(ids, mask=mask)
        options = {"mask": mask, "target_mask": target_mask}
        seen_later = streams(ours.decoder, lambda: ours.decode(target_ids, memory, **options))
        logits = ours(ids, target_ids, **options)
    pairs = [*zip(seen[:-1], expected.encoder_hidden_states[1:-1], strict=True)]
    assert len(pairs) == 2
    for stream, hidden in pairs:
        torch.testing.assert_close(stream[mask], hidden[mask], **TIGHT)
    torch.testing.assert_close(memory[mask], expected.encoder_last_hidden_state[mask], **TIGHT)
    for stream, hidden in zip(seen_later[:-1], expected.decoder_hidden_states[1:-1], strict=True):
        torch.testing.assert_close(stream[target_mask], hidden[target_mask], **TIGHT)
    torch.testing.assert_close(logits[target_mask], expected.logits[target_mask], **TIGHT)
    assert expected.logits.std() > 0.1
    assert (ours.unembed.weight is ours.embed.weight) == (family in ("t5", "gated, scaled"))


@pytest.mark.parametrize("family", ["t5", "t5-1.1"])
@torch.no_grad()
def test_greedy_answer_with_a_cache(tmp_path, published, exact, ids, family):
    name, changes = FAMILIES[family]
    theirs = exact(published(name, **changes))
    ours = load_pretrained(tmp_path, dtype=torch.float64)
    mask = torch.ones_like(ids).bool()
    mask[0, :5] = False  # padding on the left, on both sides
    source = {"input_ids": ids, "attention_mask": mask.long()}
    expected = theirs.generate(**source, max_new_tokens=12, do_sample=False, eos_token_id=None)
    memory, cache, past = ours.encode(ids, mask=mask), KVCache(3), None
    token = torch.zeros(2, 1, dtype=torch.long)
    answer = [token]
    for _ in range(12):
        out = theirs(**source, decoder_input_ids=token, past_key_values=past, use_cache=True)
        past = out.past_key_values
        logits = ours.decode(token, memory, mask=mask, cache=cache)
        torch.testing.assert_close(logits, out.logits, **TIGHT)
        answer.append(token := logits[:, -1].argmax(-1, keepdim=True))
    assert torch.equal(torch.cat(answer, dim=1), expected) and len(expected.unique()) > 3


def test_names_of_the_first_files(tmp_path, published, exact, rewrite, ids, target_ids):
    """Second copies of the embeddings, a table that is never read, n_positions, and no feed_forward_proj."""
    theirs = exact(published("T5ForConditionalGeneration"))

    def change(weights):
        for name in ("encoder.embed_tokens", "decoder.embed_tokens"):
            weights[f"{name}.weight"] = weights["shared.weight"].clone()
        weights["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.ones(32, 4)

    old = ("feed_forward_proj", "dense_act_fn", "is_gated_act", "num_decoder_layers", "scale_decoder_outputs",
           "tie_word_embeddings")  # fmt: skip
    rewrite(change, n_positions=512, **dict.fromkeys(old, ...))
    ours = load_t5(tmp_path, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(input_ids=ids, decoder_input_ids=target_ids).logits
        torch.testing.assert_close(ours(ids, target_ids), expected, **TIGHT)


def test_a_scaled_model_with_two_matrices_is_refused(tmp_path, published, rewrite):
    published("T5ForConditionalGeneration")
    rewrite(lambda weights: weights.update({"lm_head.weight": torch.ones(61, 24)}))
    with pytest.raises(ValueError, match="lm_head.weight and .*must be equal|and lm_head.weight must be equal"):
        load_t5(tmp_path)
