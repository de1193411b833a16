"""config.json, of which every field is honoured, known to be harmless, or refused."""

import re
from pathlib import Path
from typing import TypeVar

from lmbook.interop.files import read_json
from lmbook.transformer import BertConfig, EncoderDecoderConfig, GPTConfig

_Sizes = TypeVar("_Sizes", GPTConfig, BertConfig, EncoderDecoderConfig)

# Fields that do not change what a trained model computes for given ids.
_HARMLESS = re.compile(
    r"_.*|architectures|transformers_version|transformers\.js_config|(torch_)?dtype|tokenizer_class|unsloth_.*"
    r"|finetuning_task|task_specific_params|output_past|is_llama_config"  # where the file comes from
    r"|.*_token_id|prefix|(max|min)_length|max_new_tokens|do_sample|early_stopping|num_beams|num_beam_groups"
    r"|num_return_sequences|diversity_penalty|temperature|top_k|top_p|typical_p|(repetition|length)_penalty"
    r"|(encoder_)?no_repeat_ngram_size|bad_words_ids|(begin_)?suppress_tokens"  # what generate() does by default
    r"|(attn|embd|resid)_pdrop|.*_dropout(_prob)?|dropout_rate|initializer_(range|factor)"  # training
    r"|use_cache|gradient_checkpointing|return_dict|chunk_size_feed_forward|pretraining_tp|torchscript|n_ctx"
    r"|reorder_and_upcast_attn"  # how, and not what, is computed
    r"|summary_.*|pooler_(fc_size|num_.*|size_per_head|type)|directionality|id2label|label2id|num_labels"
    r"|problem_type"  # heads for other tasks
)
# The value at which a field does nothing, where that is not false or empty; null does nothing in any field.
_NEUTRAL = {
    "partial_rotary_factor": 1.0, "rotary_pct": 1.0, "embedding_multiplier": 1.0, "residual_multiplier": 1.0,
    "logits_scaling": 1.0, "logit_scale": 1.0, "is_causal": True, "use_rope": True,
}  # fmt: skip


class Config:
    """The contents of config.json: names the file and the key when something is wrong, and knows what was read."""

    def __init__(self, path: Path, values: dict) -> None:
        self.path, self.values, self.read = path, values, set()

    def __getitem__(self, key: str):
        self.read.add(key)
        if key not in self.values:
            raise ValueError(f"{self.path} has no {key!r}")
        return self.values[key]

    def get(self, key: str, default):
        """The value of a key; the default where the key is missing or null."""
        self.read.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def require(self, key: str, *choices) -> None:
        """Refuse a value that is none of the choices; the first choice is the default."""
        if (value := self.get(key, choices[0])) not in choices:
            supported = " or ".join(map(repr, choices))
            raise ValueError(f"{self.path}: {key} = {value!r} is not supported, only {supported}")

    def refuse_the_rest(self) -> None:
        """Refuse every field that was not read, unless it is known to be harmless, or does nothing."""
        for key, value in self.values.items():
            if key in self.read or value is None or _HARMLESS.fullmatch(key):
                continue
            neutral = value == _NEUTRAL[key] if key in _NEUTRAL else value is False or value in ("", [], {})
            if not neutral:
                raise ValueError(f"{self.path}: {key} = {value!r} is not supported, and may change what it computes")


def read_config(folder: Path, *model_types: str) -> Config:
    """config.json of a model's folder; a ValueError if it is missing, truncated, another file, or of another type."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise ValueError(f"folder must be that of a pretrained model, got {str(folder)!r}, which is no folder")
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json")
    config = Config(path, read_json(path))
    if (kind := config["model_type"]) not in model_types:
        supported = " or ".join(map(repr, model_types))
        raise ValueError(f"{path}: model_type must be {supported}, got {kind!r}")
    return config


def sizes(config: Config, kind: type[_Sizes], **values) -> _Sizes:
    """Our configuration; what it refuses is said of their file, and so is what it leaves out."""
    try:
        ours = kind(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{config.path}: {error}") from None
    config.refuse_the_rest()
    return ours
