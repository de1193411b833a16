"""Files that are damaged, incomplete, too much, or of something else: each error names the file and why."""

import pickle
import re
import socket

import pytest
import torch

from lmbook.interop import download, load_bert, load_gpt2, load_llama, load_pretrained


def label(value) -> str:
    """The id of a parameter: the same in every process, which the address of a function is not."""
    return getattr(value, "__name__", None) or str(value)[:40]


MODELS = {load_gpt2: "GPT2LMHeadModel", load_llama: "LlamaForCausalLM", load_bert: "BertModel"}
WEIGHTS = "model.safetensors"


def truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def refused(load, *parts, **options):
    """load raises a ValueError whose message holds all parts."""
    with pytest.raises(ValueError) as caught:
        load(**options)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize("load", MODELS, ids=lambda load: load.__name__)
@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.9999])
def test_truncated_weights(tmp_path, published, load, share):
    published(MODELS[load])
    file = tmp_path / WEIGHTS
    truncate(file, int(share * file.stat().st_size))
    refused(lambda: load(tmp_path), f"{file} is no whole safetensors file: ")


def test_weights_that_are_something_else(tmp_path, published):
    published("GPT2LMHeadModel")
    (tmp_path / WEIGHTS).write_bytes(b"<html>404</html>" * 100)
    refused(lambda: load_gpt2(tmp_path), WEIGHTS, "is no whole safetensors file: ")


CHANGED_WEIGHTS = [
    (load_gpt2, {"transformer.h.1.ln_2.bias": None}, "holds nothing for blocks.1.feed_forward.norm.bias of the GPT"),
    (load_gpt2, {"transformer.h.1.attn.c_attn.weight": None},
     "holds nothing for blocks.1.self_attention.sublayer.w_k.weight, blocks.1.self_attention.sublayer.w_q.weight, "
     "blocks.1.self_attention.sublayer.w_v.weight of the GPT"),
    (load_gpt2, {"transformer.h.1.ln_3.bias": (24,)}, "holds h.1.ln_3.bias, for which a GPT has no place"),
    (load_gpt2, {f"transformer.h.{n}.ln_1.bias": (24,) for n in range(3, 9)},
     "holds h.3.ln_1.bias, h.4.ln_1.bias, h.5.ln_1.bias and 3 more, for which a GPT has no place"),
    (load_gpt2, {"transformer.h.0.mlp.c_fc.weight": (96, 24)},
     "h.0.mlp.c_fc.weight must have shape (96, 24) as configured, got (24, 96)"),
    (load_gpt2, {"transformer.h.0.attn.c_attn.bias": (71,)},
     "h.0.attn.c_attn.bias must have shape (72,) as configured, got (71,)"),
    (load_gpt2, {"transformer.wte.weight": (60, 24)},
     "wte.weight must have shape (61, 24) as configured, got (60, 24)"),
    (load_gpt2, {"lm_head.weight": (61, 24)},
     "wte.weight and lm_head.weight must be equal, since the model shares them"),
    (load_gpt2, {"transformer.wpe.weight": torch.ones(24, 24, dtype=torch.int8)},
     "wpe.weight must hold floats, got torch.int8 (quantised weights?)"),
    (load_llama, {"lm_head.weight": None}, "holds nothing for unembed.weight of the GPT"),
    (load_llama, {"model.layers.2.self_attn.q_proj.bias": (32,)},
     "holds layers.2.self_attn.q_proj.bias, for which a GPT has no place"),
    (load_llama, {"model.layers.2.self_attn.k_proj.weight": (32, 32)},
     "layers.2.self_attn.k_proj.weight must have shape (16, 32) as configured, got (32, 32)"),
    (load_bert, {"pooler.dense.bias": None}, "holds nothing for pooler.bias of the BertEncoder"),
    (load_bert, {"classifier.weight": (2, 24)}, "holds classifier.weight, for which a BertEncoder has no place"),
]  # fmt: skip


@pytest.mark.parametrize("load, changes, message", CHANGED_WEIGHTS, ids=label)
def test_changed_weights(tmp_path, published, rewrite, load, changes, message):
    published(MODELS[load])

    def change(weights):
        for name, value in changes.items():
            if value is None:
                del weights[name]
            else:
                weights[name] = value if isinstance(value, torch.Tensor) else torch.ones(value)

    rewrite(change)
    refused(lambda: load(tmp_path), str(tmp_path), message)


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8}  # fmt: skip
CHANGED_CONFIG = [
    (load_gpt2, {"n_embd": ...}, "has no 'n_embd'"),
    (load_gpt2, {"model_type": ...}, "has no 'model_type'"),
    (load_gpt2, {"model_type": "llama"}, "model_type must be 'gpt2', got 'llama'"),
    (load_gpt2, {"n_head": 5}, ": d_model must be divisible by n_heads, got d_model=24, n_heads=5"),
    (load_gpt2, {"n_layer": 0}, ": n_layers must be at least 1, got 0"),
    (load_gpt2, {"activation_function": "silu"},
     "activation_function = 'silu' is not supported, only 'gelu_new' or 'gelu_pytorch_tanh' or 'gelu' or "),
    (load_gpt2, {"scale_attn_weights": False}, "scale_attn_weights = False is not supported, only True"),
    (load_gpt2, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True is not supported"),
    (load_gpt2, {"add_cross_attention": True}, "add_cross_attention = True is not supported"),
    (load_llama, {"rms_norm_eps": ...}, "has no 'rms_norm_eps'"),
    (load_llama, {"model_type": "mistral"}, "model_type must be 'llama', got 'mistral'"),
    (load_llama, {"rope_scaling": {"factor": 8.0}}, "rope_parameters: factor = 8.0 is not supported"),
    (load_llama, {"rope_parameters": {"rope_type": "yarn"}},
     "rope_parameters: rope_type = 'yarn' is not supported, only 'default' or 'llama3'"),
    (load_llama, {"rope_parameters": {"rope_type": "llama3"}}, "rope_parameters has no 'factor'"),
    (load_llama, {"rope_parameters": LLAMA3 | {"high_freq_factor": 1.0}}, "fast must be above slow=1.0, got 1.0"),
    (load_llama, {"rope_parameters": LLAMA3 | {"beta_fast": 32.0}}, "beta_fast = 32.0 is not supported"),
    (load_llama, {"rope_parameters": LLAMA3 | {"type": "linear"}}, "type = 'linear' is not supported, only 'llama3'"),
    (load_llama, {"rope_parameters": LLAMA3, "rope_scaling": LLAMA3 | {"factor": 4.0}}, "differ in factor"),
    (load_llama, {"rope_parameters": {"rope_theta": 500.0}, "rope_theta": 1e4},
     "rope_theta is 10000.0, and 500.0 in rope_parameters"),
    (load_llama, {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor = 0.5 is not supported"),
    (load_llama, {"rope_parameters": [1]}, "rope_parameters must be an object, got [1]"),
    (load_llama, {"head_dim": 16}, "head_dim = 16 is not supported, only 8"),
    (load_llama, {"attention_bias": True}, "attention_bias = True is not supported, only False"),
    (load_llama, {"mlp_bias": True}, "mlp_bias = True is not supported, only False"),
    (load_llama, {"hidden_act": "gelu"}, "hidden_act = 'gelu' is not supported, only 'silu'"),
    (load_bert, {"layer_norm_eps": ...}, "has no 'layer_norm_eps'"),
    (load_bert, {"model_type": "roberta"}, "model_type must be 'bert', got 'roberta'"),
    (load_bert, {"position_embedding_type": "relative_key"},
     "position_embedding_type = 'relative_key' is not supported, only 'absolute'"),
    (load_bert, {"is_decoder": True}, "is_decoder = True is not supported, only False"),
    (load_bert, {"hidden_act": "gelu_new"}, "hidden_act = 'gelu_new' is not supported, only 'gelu'"),
    (load_bert, {"tie_word_embeddings": False}, "tie_word_embeddings = False is not supported, only True"),
    (load_pretrained, {"model_type": "t6"},
     "model_type must be 'gpt2' or 'llama' or 'qwen2' or 'bert' or 't5' or 'mt5', got 't6'"),
]  # fmt: skip


@pytest.mark.parametrize("load, changes, message", CHANGED_CONFIG, ids=label)
def test_changed_config(tmp_path, published, rewrite, load, changes, message):
    published(MODELS.get(load, "BertModel"))
    rewrite(**changes)
    refused(lambda: load(tmp_path), f"{tmp_path / 'config.json'}", message)


@pytest.mark.parametrize("load", [*MODELS, load_pretrained], ids=lambda load: load.__name__)
def test_config_damaged_or_missing(tmp_path, published, load):
    published(MODELS.get(load, "BertModel"))
    config = tmp_path / "config.json"
    truncate(config, 100)
    refused(lambda: load(tmp_path), f"{config} is not a whole JSON file: ")
    config.write_text("[]")
    refused(lambda: load(tmp_path), f"{config} must hold a JSON object, not list")
    config.unlink()
    refused(lambda: load(tmp_path), f"{tmp_path} has no config.json")
    refused(lambda: load(tmp_path / "nowhere"), "nowhere'")


def test_pickles_are_not_opened(tmp_path, published):
    published("GPT2LMHeadModel")
    (tmp_path / WEIGHTS).unlink()
    refused(lambda: load_gpt2(tmp_path), f"{tmp_path} has neither model.safetensors nor model.safetensors.index.json")

    class Bomb:
        def __reduce__(self):
            return (tmp_path / "unpickled").touch, ()

    for name in ("pytorch_model.bin", WEIGHTS):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        message = (
            "a pickle, which can run any code when it is opened" if name != WEIGHTS else "no whole safetensors file"
        )
        refused(lambda: load_gpt2(tmp_path), str(tmp_path), name, message)
    assert not (tmp_path / "unpickled").exists()


def test_bad_shards(tmp_path, published):
    published("GPT2LMHeadModel", max_shard_size="20kB")
    index = tmp_path / "model.safetensors.index.json"
    good = index.read_text()
    shards = sorted(path.name for path in tmp_path.glob("model-*.safetensors"))
    index.write_text(good.replace(shards[0], "../elsewhere.safetensors"))
    refused(lambda: load_gpt2(tmp_path), f"{index} lists '../elsewhere.safetensors', which must be the plain name")
    index.write_text("{}")
    refused(lambda: load_gpt2(tmp_path), f"{index} has no 'weight_map'")
    index.write_text(good[:50])
    refused(lambda: load_gpt2(tmp_path), f"{index} is not a whole JSON file: ")
    index.write_text(good)
    (tmp_path / shards[1]).rename(tmp_path / "away")
    refused(lambda: load_gpt2(tmp_path), f"{index} lists {shards[1]}, which is missing")
    (tmp_path / shards[1]).write_bytes((tmp_path / shards[0]).read_bytes())  # the same part twice
    refused(lambda: load_gpt2(tmp_path), f"{tmp_path} holds nothing for ")


def test_repository_without_network(monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub")

    def unreachable(*args, **kwargs):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    for name in ("gpt2", "lmbook/no-such-model"):
        with pytest.raises(ConnectionError, match=f"{name} is not in the cache .*use load_smollm2"):
            load_pretrained(name)
    for load, name in ((download, "gpt3"), (load_pretrained, "a/b/c"), (download, "")):
        refused(lambda load=load, name=name: load(name), "repo_id must be 'owner/name' or one of gpt2, ", repr(name))
    for name in (str(tmp_path / "nowhere"), "./nowhere", tmp_path / "nowhere"):
        refused(
            lambda name=name: load_pretrained(name), "folder_or_repo_id must be a folder or a repository of the hub"
        )


def test_only_safe_files_are_asked_for(monkeypatch, tmp_path, published):
    """The hub is asked for config.json, safetensors and tokenizers, under today's name of the repository."""
    import huggingface_hub

    published("GPT2LMHeadModel")
    asked = {}

    def snapshot(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    load_pretrained("gpt2", revision="main")
    assert asked["repo_id"] == "openai-community/gpt2" and asked["revision"] == "main"
    patterns = asked["allow_patterns"]
    fetched = huggingface_hub.utils.filter_repo_objects(
        ["config.json", WEIGHTS, "model-00001-of-00002.safetensors", "model.safetensors.index.json", "merges.txt",
         "pytorch_model.bin", "tf_model.h5", "modeling.py", "onnx/model.onnx", "rust_model.ot", "64.tflite"],
        allow_patterns=patterns,
    )  # fmt: skip
    assert len(list(fetched)) == 5 and not any(re.search(r"bin|\.pt|py$|^\*$", pattern) for pattern in patterns)
