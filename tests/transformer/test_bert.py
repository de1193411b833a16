from functools import partial

import pytest
import torch
from transformers import BertConfig as TheirConfig
from transformers import BertForPreTraining, BertModel

from lmbook.transformer import BERT, BertConfig, BertEncoder, bert_base, bert_large, minilm_l6

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
BLOCK = {
    "attention.self.query": "self_attention.sublayer.w_q",
    "attention.self.key": "self_attention.sublayer.w_k",
    "attention.self.value": "self_attention.sublayer.w_v",
    "attention.output.dense": "self_attention.sublayer.w_o",
    "attention.output.LayerNorm": "self_attention.norm",
    "intermediate.dense": "feed_forward.sublayer.w_in",
    "output.dense": "feed_forward.sublayer.w_out",
    "output.LayerNorm": "feed_forward.norm",
}
REST = {
    "bert.embeddings.word_embeddings": "encoder.embed",
    "bert.embeddings.position_embeddings": "encoder.positions",
    "bert.embeddings.token_type_embeddings": "encoder.segments",
    "bert.embeddings.LayerNorm": "encoder.norm",
    "bert.pooler.dense": "encoder.pooler",
    "cls.predictions.transform.dense": "transform",
    "cls.predictions.transform.LayerNorm": "norm",
    "cls.predictions.decoder": "unembed",
    "cls.seq_relationship": "is_next",
}


def tiny(**options):
    sizes = {"vocab_size": 50, "max_len": 16, "d_model": 16, "n_layers": 3, "n_heads": 4, "d_ff": 24}
    return BERT(BertConfig(**(sizes | options))).eval()


@pytest.fixture
def pair(loud):
    theirs = TheirConfig(
        vocab_size=50, max_position_embeddings=16, hidden_size=16, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=24, layer_norm_eps=0.01, attn_implementation="sdpa",
    )  # fmt: skip
    reference = loud(BertForPreTraining(theirs))
    ours = tiny(norm_eps=0.01).double()
    names = dict(REST)
    for i in range(3):
        names |= {f"bert.encoder.layer.{i}.{a}": f"encoder.blocks.{i}.{b}" for a, b in BLOCK.items()}
    state = reference.state_dict()
    ours.load_state_dict(
        {names[module] + "." + kind: state[f"{module}.{kind}"] for module in names for kind in ("weight", "bias")
         if f"{module}.{kind}" in state}
    )  # fmt: skip
    return ours, reference


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(50, (3, 9), generator=generator)
    mask = torch.ones(3, 9, dtype=torch.bool)
    mask[0, 6:] = mask[1, 3:] = False
    segments = (torch.arange(9) > 4).long().expand(3, 9)
    return ids, mask, segments


def test_equals_transformers_layer_by_layer(pair, batch, trace):
    ours, reference = pair
    ids, mask, segments = batch
    for padded in (False, True):
        options = {"mask": mask, "segments": segments} if padded else {}
        theirs = {"attention_mask": mask.long(), "token_type_ids": segments} if padded else {}
        real = mask if padded else torch.ones_like(mask)
        logits, states = trace([ours.encoder.norm, *ours.encoder.blocks], lambda o=options: ours(ids, **o))
        layers = [reference.bert.embeddings, *reference.bert.encoder.layer]
        expected, expected_states = trace(layers, lambda t=theirs: reference(ids, **t))
        for state, expected_state in zip(states, expected_states, strict=True):
            close(state[real], expected_state[real])
        close(logits[real], expected.prediction_logits[real])
        close(ours.next_sentence(ids, **options), expected.seq_relationship_logits)
        close(ours.encoder.pool(ours.encoder(ids, **options)), reference.bert(ids, **theirs).pooler_output)


def test_padding_changes_nothing_and_every_token_sees_every_other(pair, batch):
    ours, (ids, mask, _) = pair[0], batch
    close(ours(ids, mask=mask)[1:2, :3], ours(ids[1:2, :3]))
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 50
    assert ((ours(ids) - ours(changed)).abs().amax(-1) > 1e-6).all()
    assert (ours(ids) - ours(ids, segments=torch.ones_like(ids))).abs().max() > 1e-3


def test_padding_on_the_left_changes_nothing(pair, batch):
    ours, (ids, _, segments) = pair[0], batch
    mask = torch.ones_like(ids).bool()
    mask[0, :4], mask[1, :1] = False, False
    for row, n in ((0, 4), (1, 1), (2, 0)):
        alone = {"segments": segments[row : row + 1, n:]}
        close(ours(ids, mask=mask, segments=segments)[row : row + 1, n:], ours(ids[row : row + 1, n:], **alone))
        pairs = ours.next_sentence(ids, mask=mask, segments=segments)[row : row + 1]
        close(pairs, ours.next_sentence(ids[row : row + 1, n:], **alone))


def test_a_hole_in_the_mask_keeps_the_positions(pair, batch):
    """As in transformers: what stands after a hidden token stays where it is."""
    (ours, reference), (ids, *_) = pair, batch
    mask = torch.ones_like(ids).bool()
    mask[:, 3:5] = False
    close(ours(ids, mask=mask)[mask], reference(ids, attention_mask=mask.long()).prediction_logits[mask])


@pytest.mark.parametrize(
    "preset, encoder, whole",
    [(bert_base, 109_482_240, 110_106_428), (bert_large, 335_141_888, None), (minilm_l6, 22_713_216, None)],
)
def test_published_sizes(preset, encoder, whole, count):
    config = preset()
    theirs = TheirConfig(
        hidden_size=config.d_model, num_hidden_layers=config.n_layers, num_attention_heads=config.n_heads,
        intermediate_size=config.d_ff,
    )  # fmt: skip
    assert count(lambda: BertEncoder(config)) == count(lambda: BertModel(theirs)) == encoder
    assert count(lambda: BERT(config)) == count(lambda: BertForPreTraining(theirs))
    assert whole is None or count(lambda: BERT(config)) == whole
    assert (config.norm_eps, config.max_len) == (theirs.layer_norm_eps, theirs.max_position_embeddings)


def test_initial_weights_and_the_tie():
    model = tiny(d_model=64, vocab_size=500)
    assert model.unembed.weight is model.encoder.embed.weight
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and parameter.numel() > 2000:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name


def test_dropout_only_while_training(batch):
    torch.manual_seed(0)
    model = tiny(dropout=0.5)
    assert torch.equal(model(batch[0]), model(batch[0]))
    model.train()
    assert not torch.allclose(model(batch[0]), model(batch[0]))


def test_compiled_equals_eager(loud, batch, compiled):
    ours, (ids, mask, segments) = loud(tiny(n_layers=1)), batch
    close(compiled(ours)(ids, mask=mask, segments=segments), ours(ids, mask=mask, segments=segments))


def test_meta_autocast_and_saving(batch, tmp_path):
    ids, mask, _ = batch
    with torch.device("meta"):
        model, on_meta = BERT(minilm_l6()), torch.zeros(2, 100, dtype=torch.long)
    assert model(on_meta).shape == (2, 100, 30522) and model.next_sentence(on_meta).shape == (2, 2)
    model = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(
            model(ids, mask=mask).float(), model(ids, mask=mask), rtol=0, atol=0.02, check_dtype=False
        )
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = tiny()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(other(ids), model(ids)) and other.unembed.weight is other.encoder.embed.weight


def test_on_the_device(pair, batch, device):
    ours, (ids, mask, segments) = pair[0], batch
    expected = ours(ids, mask=mask, segments=segments)
    close(ours.to(device)(ids.to(device), mask=mask.to(device), segments=segments.to(device)).cpu(), expected)
