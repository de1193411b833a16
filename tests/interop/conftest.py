"""Tiny random models of `transformers`, saved as it saves them: what our loaders must read and reproduce."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

SIZES = {
    "GPT2": {"vocab_size": 61, "n_positions": 24, "n_embd": 24, "n_layer": 3, "n_head": 4},
    "Llama": {"vocab_size": 61, "max_position_embeddings": 24, "hidden_size": 32, "intermediate_size": 40,
              "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 500.0},
    "Qwen2": {"vocab_size": 61, "max_position_embeddings": 24, "hidden_size": 32, "intermediate_size": 40,
              "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 500.0},
    "T5": {"vocab_size": 61, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 3, "num_heads": 4,
           "decoder_start_token_id": 0},
    "MT5": {"vocab_size": 61, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 3, "num_heads": 4},
    "Bert": {"vocab_size": 61, "max_position_embeddings": 24, "hidden_size": 24, "intermediate_size": 40,
             "num_hidden_layers": 3, "num_attention_heads": 4},
}  # fmt: skip


@pytest.fixture
def published(tmp_path):
    """Call with ("GPT2LMHeadModel", **changes of the configuration): a model saved to tmp_path, in float64.

    Its weights are loud (std 0.3, around 1 in norms), so that no part of it can be left out unnoticed.
    """
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    def make(name, *, max_shard_size="1GB", **changes):
        family = next(family for family in SIZES if name.startswith(family))
        config = getattr(transformers, f"{family}Config")(**SIZES[family] | changes)
        model = getattr(transformers, name)(config).double().eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                norm = any(mark in parameter_name for mark in ("norm", "Norm", "ln_"))
                mean = 1.0 if norm and parameter_name.endswith("weight") else 0.0
                parameter.normal_(mean, 0.3, generator=generator)
        model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
        return model

    return make


@pytest.fixture
def rewrite(tmp_path):
    """Save the weights in tmp_path anew after change(weights) has edited them; edit config.json (... removes)."""
    from safetensors.torch import load_file, save_file

    def edit(change=None, **config):
        file, path = tmp_path / "model.safetensors", tmp_path / "config.json"
        if change is not None:
            weights = load_file(file)
            change(weights)
            file.unlink()
            save_file(weights, file)
        values = json.loads(path.read_text()) | config
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))

    return edit


@pytest.fixture
def ids():
    return torch.randint(61, (2, 17), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def streams():
    """What leaves each block of one of our models during a call."""

    def run(model, call):
        seen = []
        hooks = [block.register_forward_hook(lambda *args: seen.append(args[-1])) for block in model.blocks]
        call()
        for hook in hooks:
            hook.remove()
        return seen

    return run


class _Norm(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.weight, self.eps = norm.weight, norm.variance_epsilon

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


def _scaled(frequency, rope):
    """`apply_scaling` of the code of Llama 3.1, for one pair of coordinates."""
    if rope["rope_type"] == "default":
        return frequency
    assert rope["rope_type"] == "llama3"
    low, high, context = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    wavelength = 2 * math.pi / frequency
    if wavelength < context / high:
        return frequency
    if wavelength > context / low:
        return frequency / rope["factor"]
    smooth = (context / wavelength - low) / (high - low)
    return (1 - smooth) * frequency / rope["factor"] + smooth * frequency


class _Angles(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, rope = config.hidden_size // config.num_attention_heads, config.rope_parameters
        frequencies = [_scaled(rope["rope_theta"] ** (-2 * i / width), rope) for i in range(width // 2)]
        self.frequencies = torch.tensor(frequencies, dtype=torch.float64)

    def forward(self, x, position_ids):
        angles = torch.outer(position_ids[0].double(), self.frequencies).repeat(1, 2)[None]
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


@pytest.fixture(scope="session")
def rotary_angles():
    """Angles of rotary positions in float64, to take the place of those that `transformers` computes in float32."""
    return _Angles


@pytest.fixture
def exact():
    """Make a Llama, Qwen2 or T5 of `transformers` compute in float64 what it computes in float32 in any case.

    These are its norms (here PyTorch's own rms_norm) and the angles of its rotary positions.
    """

    def replace(model):
        if hasattr(model, "model"):
            model.model.rotary_emb = _Angles(model.config)
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if hasattr(child, "variance_epsilon"):
                    setattr(module, name, _Norm(child))
        return model

    return replace


@pytest.fixture
def gguf_file(tmp_path):
    """Write a Llama of `transformers` as llama.cpp does, rows of queries and keys in its own order.

    Args: the model; change(fields, tensors) may edit what is written.
    """
    gguf = pytest.importorskip("gguf")

    def swap(weights, n_heads):  # LlamaModel.permute in llama.cpp's convert_hf_to_gguf.py
        half = weights.shape[0] // n_heads // 2
        return weights.reshape(n_heads, 2, half, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)

    def write(model, change=None):
        config = model.config
        fields = {
            "general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
            "llama.vocab_size": config.vocab_size, "llama.context_length": config.max_position_embeddings,
            "llama.embedding_length": config.hidden_size, "llama.block_count": config.num_hidden_layers,
            "llama.attention.head_count": config.num_attention_heads,
            "llama.attention.head_count_kv": config.num_key_value_heads,
            "llama.feed_forward_length": config.intermediate_size,
            "llama.rope.dimension_count": config.hidden_size // config.num_attention_heads,
            "llama.rope.freq_base": config.rope_parameters["rope_theta"],
            "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
            "tokenizer.ggml.tokens": ["<|endoftext|>", "<|im_start|>", "a", "b", "ab", "Ġ", "Ġab"],
            "tokenizer.ggml.token_type": [3, 3, 1, 1, 1, 1, 1],
            "tokenizer.ggml.merges": ["a b", "Ġ ab"],
        }  # fmt: skip
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
        tensors = {}
        for name, tensor in model.state_dict().items():
            weights, heads = tensor.float().numpy(), {"q": config.num_attention_heads, "k": config.num_key_value_heads}
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                weights = swap(weights, heads[name[-len("q_proj.weight")]])
            if not (name == "lm_head.weight" and config.tie_word_embeddings):
                tensors[names.get_name(name, (".weight",))] = weights
        if change is not None:
            change(fields, tensors)
        path = tmp_path / "tiny.gguf"
        writer = gguf.GGUFWriter(path, fields.pop("general.architecture"))
        adders = {
            bool: writer.add_bool,
            str: writer.add_string,
            int: writer.add_uint32,
            float: writer.add_float32,
            list: writer.add_array,
        }
        for name, value in fields.items():
            adders[type(value)](name, value)
        for name, weights in tensors.items():
            writer.add_tensor(name, weights)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write
