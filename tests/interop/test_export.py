"""The way out: folders that `transformers` loads with equal logits and ids, and that our own loaders read again."""

import random

import pytest
import torch

from lmbook.generation import generate
from lmbook.interop import export, load_pretrained, load_smollm2, load_tokenizer, save_pretrained
from lmbook.text import BPE, GPT2_PATTERN, SMOLLM2_PATTERN
from lmbook.transformer import BERT, GPT, BertConfig, GPTConfig, RopeScaling

TIGHT = {"rtol": 0, "atol": 1e-10}
SIZES = {"vocab_size": 300, "max_len": 24, "d_model": 24, "n_layers": 3, "n_heads": 4}
LLAMA = {"positions": "rotary", "norm": "rms", "feed_forward": "swiglu", "bias": False, "rope_base": 500.0}
SCALING = RopeScaling(factor=8.0, original_max_len=16, slow=0.5, fast=3.0)
MODELS = {
    "gpt2": {},
    "gpt2, untied, relu": {"tie_embeddings": False, "feed_forward": "relu", "d_ff": 30, "norm_eps": 0.1},
    "gpt2, gelu": {"feed_forward": "gelu"},
    "llama": LLAMA | {"n_kv_heads": 2, "d_ff": 40},
    "llama, untied": LLAMA | {"tie_embeddings": False, "norm_eps": 0.1, "n_kv_heads": 1},
    "llama 3.1": LLAMA | {"rope_scaling": SCALING},
}
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
END, TURN = "<|endoftext|>", "<|im_end|>"


@pytest.fixture(scope="module")
def auto():
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def loud(**options):
    """A GPT in float64 whose weights are so large that no part of it can be left out unnoticed."""
    model, generator = GPT(GPTConfig(**SIZES | options)).double().eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.normal_(1.0 if norm else 0.0, 0.3, generator=generator)
    return model


def bpe(pattern=GPT2_PATTERN):
    text = "the cat sat on the mat, and the other cat's hat 1234 12 "
    return BPE.train([text * 3], 290, pattern=pattern, special_tokens=[END, TURN])


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_model(tmp_path, auto, exact, ids, name):
    ours = loud(**MODELS[name])
    save_pretrained(ours, None, tmp_path / "out")
    theirs = auto.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float64).eval()
    kind = {"g": "GPT2LMHeadModel", "l": "LlamaForCausalLM"}[name[0]]
    assert type(theirs).__name__ == kind
    ends = [getattr(theirs.config, f"{name}_token_id") for name in ("bos", "eos", "pad")]
    assert ends == [None] * 3  # and not those of Llama or GPT-2, which are other tokens here
    if kind != "GPT2LMHeadModel":
        torch.testing.assert_close(theirs(ids).logits, ours(ids), rtol=0, atol=1e-3)  # its norms and angles in float32
        theirs = exact(theirs)
    logits = theirs(ids).logits
    torch.testing.assert_close(logits, ours(ids), **TIGHT)
    assert logits.std() > 0.5
    answer = theirs.generate(ids[:1, :9], max_new_tokens=14, do_sample=False)  # its defaults: no token ends it
    assert answer[0, 9:].tolist() == list(generate(ours, ids[:1, :9], 14))
    own = load_pretrained(tmp_path / "out", dtype=torch.float64)
    assert own.config == ours.config and own.state_dict().keys() == ours.state_dict().keys()
    assert all(torch.equal(tensor, own.state_dict()[key]) for key, tensor in ours.state_dict().items())


def texts():
    letters, draw = "ab theTHE 'sS,.12\n\t\r  é東½👩‍🚀" + "\u00a0\u3000\u0301\x1c\x85", random.Random(0)
    fuzzed = ["".join(draw.choices(letters, k=draw.randint(1, 40))) for _ in range(2000)]
    return ["", " ", f"the cat{END}sat {TURN}\n{END}{END} <|im_", "a  1", *fuzzed]


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, SMOLLM2_PATTERN, CL100K, r"\S+|\s+", "xyz"], ids=lambda p: p[:12])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_tokenizer(tmp_path, auto, pattern, name):
    """Also where AutoTokenizer knows the family, and might cut as that family does."""
    ours = bpe(pattern)
    save_pretrained(loud(**MODELS[name]), ours, tmp_path / "out", end=END)
    theirs = auto.AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in texts():
        ids = ours.encode(text, special=True)
        assert theirs(text)["input_ids"] == ids, repr(text)
        assert theirs.decode(ids) == text
    assert (theirs.eos_token, theirs.eos_token_id) == (END, ours.special_tokens[END])
    assert theirs.decode([ours.special_tokens[END], 50], skip_special_tokens=True) == ours.decode([50])
    own = load_tokenizer(tmp_path / "out")
    assert (own.vocab, own.merges, own.pattern) == (ours.vocab, ours.merges, pattern)
    assert own.special_tokens == ours.special_tokens


def test_generation_ends_at_the_end(tmp_path, auto, ids):
    ours, tokenizer = loud(**MODELS["llama"]), bpe()
    end = tokenizer.special_tokens[END]
    tokens = list(generate(ours, ids[:1, :9], 14))
    with torch.no_grad():  # the third token of the answer becomes the end
        for matrix in {ours.embed.weight, ours.unembed.weight}:
            row = matrix[end].clone()
            matrix[end], matrix[tokens[2]] = matrix[tokens[2]].clone(), row
    answer = list(generate(ours, ids[:1, :9], 14, stop_ids=(end,)))
    assert 0 < len(answer) < 14
    save_pretrained(ours, tokenizer, tmp_path / "out", end=END)
    theirs = auto.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float64)
    found = theirs.generate(ids[:1, :9], max_new_tokens=14, do_sample=False, pad_token_id=0)
    assert found[0, 9:].tolist() == [*answer, end]


def test_published_tokenizer(tmp_path):
    """SmolLM2's, of 49,152 tokens, whose file has other words for the same pattern."""
    tokenizers = pytest.importorskip("tokenizers")
    _, ours = load_smollm2()
    (tmp_path / "tokenizer.json").write_text(export.tokenizer_json(ours), encoding="utf-8")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ["In 1923 the lighthouse keeper wrote 17 letters.\n\n\t x = 3.14159  # π<|im_end|>", *texts()[:500]]:
        if not set("\x1c") & set(text):  # a byte without a token
            assert theirs.encode(text).ids == ours.encode(text, special=True)
    again = load_tokenizer(tmp_path)
    assert again.vocab == ours.vocab and again.merges == ours.merges and again.pattern == ours.pattern
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Digits(individual_digits=True),
         tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )  # fmt: skip
    theirs.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).pattern == SMOLLM2_PATTERN
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).pattern == GPT2_PATTERN


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype(tmp_path, auto, ids, dtype):
    ours = loud().to(dtype)
    save_pretrained(ours, None, tmp_path / "out")
    theirs = auto.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert theirs.dtype == load_pretrained(tmp_path / "out", dtype=None).embed.weight.dtype == dtype
    assert torch.equal(theirs.transformer.wte.weight, ours.embed.weight)


def test_an_older_folder_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    folder, model = tmp_path / "a" / "out", loud()
    save_pretrained(model, bpe(), folder, end=END)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    with monkeypatch.context() as patch:
        patch.setattr(export.json, "dumps", lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_pretrained(loud(**LLAMA), None, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with monkeypatch.context() as patch:
        patch.setattr(export, "save_file", lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_pretrained(loud(**LLAMA), None, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    save_pretrained(loud(**LLAMA), None, folder)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert load_pretrained(folder).config.positions == "rotary"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="folder must be new, or hold nothing but config.json, model.safetensors"):
        save_pretrained(model, None, folder)
    assert (folder / "notes.txt").read_text() == "mine" and len(list(folder.iterdir())) == 3


REFUSED = [
    ({"positions": "alibi"}, "written with positions='alibi', only with ('learned', 'rotary')"),
    ({"positions": "none"}, "written with positions='none', only with ('learned', 'rotary')"),
    ({"norm": "rms"}, "written with norm='rms', only with ('layer',)"),
    ({"feed_forward": "swiglu"}, "written with feed_forward='swiglu', only with ('gelu_tanh', 'gelu', 'relu')"),
    ({"bias": False}, "written with bias=False, only with (True,)"),
    ({"qkv_bias": False}, "written with qkv_bias=False, only with (True,)"),
    ({"n_kv_heads": 2}, "written with n_kv_heads=2, GPT-2 has n_heads"),
    (LLAMA | {"norm": "layer"}, "written with norm='layer', only with ('rms',)"),
    (LLAMA | {"bias": True}, "written with bias=True, only with (False,)"),
    (LLAMA | {"qkv_bias": True}, "written with qkv_bias=True, only with (False,)"),
    (LLAMA | {"feed_forward": "gelu"}, "written with feed_forward='gelu', only with ('swiglu',)"),
    ({"vocab_size": 280}, "tokenizer has ids up to 281, the model only 280 embeddings"),
]


@pytest.mark.parametrize("options, message", REFUSED, ids=str)
def test_models_without_a_place(tmp_path, options, message):
    with pytest.raises(ValueError) as caught:
        save_pretrained(loud(**options), bpe(), tmp_path / "out")
    assert message in str(caught.value) and not list(tmp_path.iterdir())


def test_refuses(tmp_path):
    out, model, tokenizer = tmp_path / "out", loud(), bpe()
    with pytest.raises(TypeError, match="model must be a GPT, got BERT"):
        save_pretrained(BERT(BertConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8)), None, out)
    for given in (tokenizer, None):
        with pytest.raises(ValueError, match=r"end must be one of the special tokens \[.*\], got '</s>'"):
            save_pretrained(model, given, out, end="</s>")
    with pytest.raises(ValueError, match="tokenizers refuses this tokenizer, of pattern"):
        save_pretrained(model, bpe(r"[\p{L}--[a]]+(?V1)|."), out)
    vocab = {bytes([byte]): byte for byte in range(256)} | {b"12": 256}
    cut_otherwise = BPE(vocab, [(b"1", b"2")], pattern=r"\h+|\S")  # white space here, hexadecimal digits there
    with pytest.raises(ValueError, match="tokenizers cuts .* otherwise by pattern="):
        save_pretrained(model, cut_otherwise, out)
    special = BPE(vocab, [], special_tokens={"<é>": 257})
    with pytest.raises(ValueError, match="tokenizers reads the special token '<é>' as"):
        save_pretrained(model, special, out)
    model.blocks[1].feed_forward.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="model holds blocks.1.feed_forward.extra.bias, .* have no place"):
        save_pretrained(model, None, out)
    with pytest.raises(ValueError, match="model must have parameters of one dtype, got .'torch.float32'"):
        mixed = loud()
        mixed.blocks[0].float()
        save_pretrained(mixed, None, out)
    assert not list(tmp_path.iterdir())


CHANGED_TOKENIZERS = [
    ({"model": {"type": "WordPiece"}}, "holds no BPE"),
    ({"normalizer": {"type": "NFC"}}, "a normalizer is not supported, got {'type': 'NFC'}"),
    ({"post_processor": {"type": "TemplateProcessing"}}, "a post_processor that adds tokens is not supported"),
    ({"decoder": {"type": "Metaspace"}}, "decoder must be 'ByteLevel', got {'type': 'Metaspace'}"),
    ({"pre_tokenizer": {"type": "Whitespace"}}, "a pre_tokenizer like this one is not supported"),
    ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "a pre_tokenizer like this one"),
    ({"pre_tokenizer": None}, "a pre_tokenizer like this one is not supported: None"),
    ({"added_tokens": [{"id": 288, "content": "x", "lstrip": True}]}, "an added token may not be single_word, lstrip"),
]


@pytest.mark.parametrize("changes, message", CHANGED_TOKENIZERS, ids=str)
def test_tokenizers_of_another_kind(tmp_path, rewrite_tokenizer, changes, message):
    with pytest.raises(ValueError) as caught:
        load_tokenizer(rewrite_tokenizer(changes))
    assert message in str(caught.value) and "tokenizer.json" in str(caught.value)


@pytest.mark.parametrize("field", [{"ignore_merges": True}, {"dropout": 0.1}, {"byte_fallback": True},
                                   {"unk_token": "x"}, {"end_of_word_suffix": "</w>"}], ids=str)  # fmt: skip
def test_settings_of_the_bpe(rewrite_tokenizer, field):
    with pytest.raises(ValueError, match=f"{next(iter(field))} = .* is not supported"):
        load_tokenizer(rewrite_tokenizer({}, **field))


@pytest.fixture
def rewrite_tokenizer(tmp_path):
    import json

    def edit(changes, **model):
        content = json.loads(export.tokenizer_json(bpe()))
        content["model"] |= model
        (tmp_path / "tokenizer.json").write_text(json.dumps(content | changes))
        return tmp_path

    return edit


def test_tokenizer_missing(tmp_path):
    with pytest.raises(ValueError, match="has no tokenizer.json"):
        load_tokenizer(tmp_path)
