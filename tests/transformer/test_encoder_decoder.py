from functools import partial

import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from lmbook.transformer import (
    EncoderDecoder,
    EncoderDecoderConfig,
    KVCache,
    causal_mask,
    t5_base,
    t5_large,
    t5_small,
    transformer_base,
)

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
SIZES = {"vocab_size": 50, "d_model": 16, "n_layers": 3, "n_heads": 4, "d_head": 6, "d_ff": 24, "max_len": 200}


def tiny(**options):
    return EncoderDecoder(EncoderDecoderConfig(**(SIZES | options))).eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    ids, target_ids = torch.randint(50, (2, 150), generator=generator), torch.randint(50, (2, 40), generator=generator)
    mask, target_mask = torch.ones_like(ids).bool(), torch.ones_like(target_ids).bool()
    mask[0, 100:] = target_mask[1, 30:] = False
    return ids, target_ids, mask, target_mask


def t5_pair(loud, exact, feed_forward, tied):
    theirs = T5Config(
        vocab_size=50, d_model=16, d_kv=6, d_ff=24, num_layers=3, num_heads=4, dropout_rate=0.0,
        feed_forward_proj={"relu": "relu", "geglu": "gated-gelu"}[feed_forward], tie_word_embeddings=tied,
        attn_implementation="eager",
    )  # fmt: skip
    reference = T5ForConditionalGeneration(theirs)
    if not tied:
        reference.lm_head = nn.Linear(16, 50, bias=False)
    reference = exact(loud(reference))
    ours = tiny(feed_forward=feed_forward, tie_embeddings=tied).double()
    state = {"embed.weight": reference.shared.weight, "unembed.weight": reference.lm_head.weight}
    for side in ("encoder", "decoder"):
        stack = getattr(reference, side)
        state[f"{side}.bias.weight"] = stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight
        state[f"{side}.norm.weight"] = stack.final_layer_norm.weight
        for i, block in enumerate(stack.block):
            parts = [("self_attention", "SelfAttention")]
            parts += [("cross_attention", "EncDecAttention")] if side == "decoder" else []
            for layer, (name, attribute) in zip(block.layer[:-1], parts, strict=True):
                for letter in "qkvo":
                    weight = getattr(getattr(layer, attribute), letter).weight
                    state[f"{side}.blocks.{i}.{name}.sublayer.w_{letter}.weight"] = weight
                state[f"{side}.blocks.{i}.{name}.norm.weight"] = layer.layer_norm.weight
            last = f"{side}.blocks.{i}.feed_forward"
            state[f"{last}.norm.weight"] = block.layer[-1].layer_norm.weight
            inner = block.layer[-1].DenseReluDense
            names = {"w_in": "wi", "w_out": "wo"}
            if feed_forward == "geglu":
                names = {"w_gate": "wi_0", "w_in": "wi_1", "w_out": "wo"}
            for mine, their in names.items():
                state[f"{last}.sublayer.{mine}.weight"] = getattr(inner, their).weight
    ours.load_state_dict(state)
    return ours, reference


@pytest.mark.parametrize("feed_forward", ["relu", "geglu"])
@pytest.mark.parametrize("tied", [True, False])
def test_t5_equals_transformers_layer_by_layer(feed_forward, tied, loud, exact, trace, batch):
    ours, reference = t5_pair(loud, exact, feed_forward, tied)
    ids, target_ids, mask, target_mask = batch
    mine = [*ours.encoder.blocks, ours.encoder.norm, *ours.decoder.blocks, ours.decoder.norm]
    layers = [*reference.encoder.block, reference.encoder.final_layer_norm]
    layers += [*reference.decoder.block, reference.decoder.final_layer_norm]
    logits, states = trace(mine, lambda: ours(ids, target_ids, mask=mask, target_mask=target_mask))
    theirs = {"attention_mask": mask.long(), "decoder_attention_mask": target_mask.long()}
    call = lambda: reference(input_ids=ids, decoder_input_ids=target_ids, **theirs).logits  # noqa: E731
    expected, expected_states = trace(layers, call)
    for i, (state, expected_state) in enumerate(zip(states, expected_states, strict=True)):
        real = mask if i < 4 else target_mask
        close(state[real], expected_state[real])
    close(logits[target_mask], expected[target_mask])
    plain = reference(input_ids=ids, decoder_input_ids=target_ids).logits
    close(ours(ids, target_ids), plain)


@pytest.fixture
def vaswani(loud, copy_block):
    """Ours and PyTorch's, whose norms after the last layers are not in the paper and are taken out."""
    reference = loud(nn.Transformer(16, 4, 3, 3, 24, dropout=0.0, batch_first=True))
    reference.encoder.norm = reference.decoder.norm = None
    reference.encoder.use_nested_tensor = False
    ours = loud(tiny(style="vaswani", d_head=4))
    for side in ("encoder", "decoder"):
        for block, layer in zip(getattr(ours, side).blocks, getattr(reference, side).layers, strict=True):
            copy_block(block, layer)
    return ours, reference


def embedded(model, ids):
    """Embeddings times sqrt(D) plus the paper's waves, by its formula."""
    angles = torch.arange(ids.shape[1])[:, None] / 10000.0 ** (torch.arange(0, 16, 2).double() / 16)
    return model.embed.weight[ids] * 4 + torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def test_vaswani_equals_pytorch_layer_by_layer(vaswani, trace, batch):
    ours, reference = vaswani
    ids, target_ids, mask, target_mask = batch
    logits, states = trace(
        [*ours.encoder.blocks, *ours.decoder.blocks],
        lambda: ours(ids, target_ids, mask=mask, target_mask=target_mask),
    )
    options = {"src_key_padding_mask": ~mask, "memory_key_padding_mask": ~mask, "tgt_key_padding_mask": ~target_mask}
    last, expected_states = trace(
        [*reference.encoder.layers, *reference.decoder.layers],
        lambda: reference(embedded(ours, ids), embedded(ours, target_ids), tgt_mask=~causal_mask(40), **options),
    )
    for i, (state, expected) in enumerate(zip(states, expected_states, strict=True)):
        real = mask if i < 3 else target_mask
        close(state[real], expected[real])
    close(logits[target_mask], (last @ ours.embed.weight.T)[target_mask])


@pytest.mark.parametrize("style", ["t5", "vaswani"])
def test_decoder_is_causal_and_reads_the_whole_source(style, loud, batch):
    model, (ids, target_ids, *_) = loud(tiny(style=style)), batch
    expected = model(ids, target_ids)
    changed = target_ids.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 50
    out = model(ids, changed)
    assert torch.equal(out[:, :5], expected[:, :5]) and (out[:, 5:] != expected[:, 5:]).any(-1).all()
    for at in (0, 149):
        changed = ids.clone()
        changed[:, at] = (changed[:, at] + 1) % 50
        assert ((model(changed, target_ids) - expected).abs().amax(-1) > 1e-10).all()


@pytest.mark.parametrize("style", ["t5", "vaswani"])
def test_padding_of_the_source_changes_nothing(style, loud, batch):
    model, (ids, target_ids, mask, _) = loud(tiny(style=style)), batch
    close(model(ids, target_ids, mask=mask)[:1], model(ids[:1, :100], target_ids[:1]))


@pytest.mark.parametrize("style", ["t5", "vaswani"])
def test_padding_on_the_left_changes_nothing(style, loud, batch):
    """Of the source, and of the target, at once and through a cache."""
    model, (ids, target_ids, *_) = loud(tiny(style=style)), batch
    mask, target_mask = torch.ones_like(ids).bool(), torch.ones_like(target_ids).bool()
    mask[0, :50] = target_mask[0, :7] = False
    out = model(ids, target_ids, mask=mask, target_mask=target_mask)
    close(out[:1, 7:], model(ids[:1, 50:], target_ids[:1, 7:]))
    close(out[1:], model(ids[1:], target_ids[1:]))
    memory, cache, parts, end = model.encode(ids, mask=mask), KVCache(3), [], 0
    for chunk in target_ids.split([3, 9, 28], dim=1):
        end += chunk.shape[1]
        parts.append(model.decode(chunk, memory, mask=mask, target_mask=target_mask[:, :end], cache=cache))
    close(torch.cat(parts, dim=1)[:, 7:], out[:, 7:])


@pytest.mark.parametrize("style", ["t5", "vaswani"])
@pytest.mark.parametrize("chunks", [[1] * 40, [17, 1, 20, 2], [1, 39]])
def test_cached_equals_uncached(style, chunks, loud, batch):
    model, (ids, target_ids, mask, target_mask) = loud(tiny(style=style)), batch
    memory, cache, parts, end = model.encode(ids, mask=mask), KVCache(3), [], 0
    for chunk in target_ids.split(chunks, dim=1):
        end += chunk.shape[1]
        parts.append(model.decode(chunk, memory, mask=mask, target_mask=target_mask[:, :end], cache=cache))
    close(torch.cat(parts, dim=1), model.decode(target_ids, memory, mask=mask, target_mask=target_mask))


def test_published_sizes(count):
    published = {t5_small: 60_506_624, t5_base: 222_903_552, t5_large: 737_668_096}
    for preset, size in published.items():
        config = preset()
        theirs = T5Config(
            vocab_size=config.vocab_size, d_model=config.d_model, d_kv=config.d_head, d_ff=config.d_ff,
            num_layers=config.n_layers, num_heads=config.n_heads,
        )  # fmt: skip
        assert count(lambda c=config: EncoderDecoder(c)) == size
        assert count(lambda t=theirs: T5ForConditionalGeneration(t)) == size
    config = transformer_base()
    size = count(lambda: EncoderDecoder(config))
    norms = 2 * 2 * config.d_model  # the norms after the last layers
    assert size == count(lambda: nn.Transformer(512, 8, 6, 6, 2048, batch_first=True)) - norms + 37000 * 512


def test_dropout_is_where_the_papers_have_it():
    """With nearly everything dropped, nothing is left of T5's output, and all of that of a last norm."""
    for style, zeros in (("t5", True), ("vaswani", False)):
        torch.manual_seed(0)
        model, ids = tiny(style=style, dropout=0.99, vocab_size=300), torch.arange(200)[None]
        assert torch.equal(model.encode(ids), model.encode(ids))
        model.train()
        out = model.encode(ids)
        assert ((out == 0).float().mean() > 0.9) == zeros


def test_initial_scores_have_the_same_size_in_both_styles():
    """T5 does not divide scores by sqrt(K); its queries start smaller by that factor instead."""
    torch.manual_seed(0)
    sizes = {"d_model": 128, "n_heads": 2, "d_head": 64, "n_layers": 1}
    for style in ("t5", "vaswani"):
        attention = tiny(style=style, **sizes).encoder.blocks[0].self_attention.sublayer
        x = torch.randn(1, 200, 128)
        q, k = (layer(x).unflatten(-1, (2, 64)).transpose(1, 2) for layer in (attention.w_q, attention.w_k))
        scores = q @ k.mT * (attention.scale or 1 / 8)
        assert scores.std().item() == pytest.approx(1, rel=0.15), style


@pytest.mark.parametrize("style", ["t5", "vaswani"])
def test_compiled_equals_eager(style, loud, batch, compiled):
    model, (ids, target_ids, mask, target_mask) = loud(tiny(style=style, n_layers=1)), batch
    options = {"mask": mask, "target_mask": target_mask}
    close(compiled(model)(ids, target_ids, **options), model(ids, target_ids, **options))


@pytest.mark.parametrize("style", ["t5", "vaswani"])
def test_meta_autocast_and_saving(style, loud, batch, tmp_path):
    model, (ids, target_ids, mask, target_mask) = loud(tiny(style=style, n_layers=1)), batch
    options = {"mask": mask, "target_mask": target_mask}
    expected = model(ids, target_ids, **options)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = tiny(style=style, n_layers=1).double()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(other(ids, target_ids, **options), expected) and other.unembed.weight is other.embed.weight
    with torch.device("meta"):
        meta = EncoderDecoder(t5_small() if style == "t5" else transformer_base())
        assert meta(torch.zeros(2, 9).long(), torch.zeros(2, 5).long()).shape[:2] == (2, 5)
    fresh = tiny(style=style)
    with torch.autocast("cpu", torch.bfloat16):
        half = fresh(ids, target_ids, **options)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), fresh(ids, target_ids, **options), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("style", ["t5", "vaswani"])
def test_on_the_device(style, loud, batch, device):
    model = loud(tiny(style=style))
    expected = model(*batch[:2], mask=batch[2], target_mask=batch[3])
    ids, target_ids, mask, target_mask = (tensor.to(device) for tensor in batch)
    close(model.to(device)(ids, target_ids, mask=mask, target_mask=target_mask).cpu(), expected)
