"""Pretraining: objectives, batches, learning rates, the training loop and its checkpoints, alone or in processes."""

from lmbook.pretraining.batches import Batches
from lmbook.pretraining.checkpoint import load_checkpoint, save_checkpoint
from lmbook.pretraining.distributed import distribute, rank_and_size, start
from lmbook.pretraining.loop import Step, adamw, evaluate, model_loss, train
from lmbook.pretraining.muon import Muon, muon, orthogonalise
from lmbook.pretraining.objectives import (
    IGNORE,
    causal_lm,
    loss,
    masked_lm,
    replace_tokens,
    replaced_token_loss,
    sentence_pairs,
)
from lmbook.pretraining.recipe import SHAKESPEARE, SHAKESPEARE_LARGE, Recipe, Run, cache_folder, trained
from lmbook.pretraining.schedule import warmup_cosine, warmup_linear, warmup_stable_decay, weight_decay_groups
from lmbook.pretraining.spans import shift_right, span_corruption

__all__ = [
    "IGNORE",
    "SHAKESPEARE",
    "SHAKESPEARE_LARGE",
    "Batches",
    "Muon",
    "Recipe",
    "Run",
    "Step",
    "adamw",
    "cache_folder",
    "causal_lm",
    "distribute",
    "evaluate",
    "load_checkpoint",
    "loss",
    "masked_lm",
    "model_loss",
    "muon",
    "orthogonalise",
    "rank_and_size",
    "replace_tokens",
    "replaced_token_loss",
    "save_checkpoint",
    "sentence_pairs",
    "shift_right",
    "span_corruption",
    "start",
    "train",
    "trained",
    "warmup_cosine",
    "warmup_linear",
    "warmup_stable_decay",
    "weight_decay_groups",
]
