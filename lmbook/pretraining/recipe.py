"""A recipe for a model, and a folder that keeps the models which were made, so that chapters can share them."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator
from functools import cache, cached_property, partial
from pathlib import Path

import torch
from filelock import FileLock
from torch import Generator, Tensor
from tqdm.auto import tqdm

from lmbook._checks import check_choice, check_fraction, check_positive
from lmbook.pretraining.batches import Batches
from lmbook.pretraining.checkpoint import load_checkpoint, save_checkpoint
from lmbook.pretraining.fingerprint import fingerprint
from lmbook.pretraining.loop import Step, adamw, train
from lmbook.pretraining.muon import muon
from lmbook.pretraining.objectives import causal_lm
from lmbook.pretraining.schedule import warmup_cosine
from lmbook.text import BPE, corpora
from lmbook.transformer import GPT, GPTConfig

END = "<|endoftext|>"  # after each document
_OPTIMIZERS = {"adamw": adamw, "muon": muon}
_N_WINDOWS = 128  # of the held-out text that are looked at during training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides the weights of a pretrained GPT: its text, its sizes, and how it learns.

    Args:
        corpus: a name of `corpora.load`; hub and limit are handed to it.
        n_held_out: documents to validate on, the last ones of the corpus. The tokenizer does not see them either.
        model: its vocab_size is the tokenizer's, which is trained on the text; its max_len is the length of a window.
        batch_size: windows in a step.
        lr: peak of the learning rate, after `warmup` steps; it falls to a hundredth of it at the last of the `steps`.
        optimizer: adamw, or muon for the matrices of the layers with AdamW for the rest.
        beta2: memory of AdamW's mean square; the fewer tokens in a batch, the longer (Marek et al. 2025).
        seed: of the first weights, of the order of the text and of dropout.

    Book: pretraining.
    """

    corpus: str
    n_held_out: int
    model: GPTConfig
    steps: int
    batch_size: int
    lr: float
    warmup: int
    optimizer: str = "adamw"
    beta2: float = 0.999
    weight_decay: float = 0.1
    seed: int = 0
    hub: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, GPTConfig):
            raise TypeError(f"model must be a GPTConfig, got {type(self.model).__name__}")
        check_choice(tuple(_OPTIMIZERS), optimizer=self.optimizer)
        check_fraction(beta2=self.beta2)
        check_positive(n_held_out=self.n_held_out, steps=self.steps, batch_size=self.batch_size)
        warmup_cosine(1, warmup=self.warmup, total=self.steps, peak=self.lr)  # refuses what it cannot use

    @property
    def key(self) -> str:
        """A name that changes with the settings, with torch's version, and with the `fingerprint` of the code."""
        settings = json.dumps([dataclasses.asdict(self), torch.__version__, _digest()])
        return f"{self.corpus}-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"


@cache
def _digest() -> str:
    """Of the code that decides the weights, as it was when this process first asked."""
    return fingerprint(Path(__file__))


_plays = partial(Recipe, corpus="shakespeare", n_held_out=2)
_llama = partial(GPTConfig, positions="rotary", norm="rms", feed_forward="swiglu", bias=False)
_small = _llama(vocab_size=1024, max_len=256, d_model=96, n_layers=2, n_heads=4, d_ff=256)
_large = _llama(vocab_size=4096, max_len=256, d_model=384, n_layers=6, n_heads=6, d_ff=1024, dropout=0.2)

#: Plays and poems of Shakespeare, a minute and a half on one core of a CPU.
SHAKESPEARE = _plays(model=_small, steps=3000, batch_size=2, lr=6e-3, warmup=150, optimizer="muon")

#: The same text for a GPU: 12 million parameters, many epochs.
SHAKESPEARE_LARGE = _plays(model=_large, steps=3000, batch_size=32, lr=1e-3, warmup=100, beta2=0.99)


class Run:
    """A training run as its recipe says. What it makes is kept in a folder, so that it is made only once.

    Args:
        folder: holds the folders of all runs, each named by its recipe's key; `cache_folder()` unless given.

    Book: pretraining.
    """

    def __init__(
        self, recipe: Recipe, *, device: str | torch.device = "cpu", folder: str | os.PathLike | None = None
    ) -> None:
        if not isinstance(recipe, Recipe):
            raise TypeError(f"recipe must be a Recipe, got {type(recipe).__name__}")
        self.recipe, self.folder = recipe, Path(folder or cache_folder()) / recipe.key
        self.model = GPT(recipe.model)
        self.model.reset_parameters(Generator().manual_seed(recipe.seed))
        self.model.to(device)

    @cached_property
    def texts(self) -> tuple[list[str], list[str]]:
        """The documents to learn from, and those held out."""
        recipe = self.recipe
        found = [document.text for document in corpora.load(recipe.corpus, hub=recipe.hub, limit=recipe.limit)]
        if len(found) <= recipe.n_held_out:
            raise ValueError(f"n_held_out must be below the {len(found)} documents, got {recipe.n_held_out}")
        return found[: -recipe.n_held_out], found[-recipe.n_held_out :]

    @cached_property
    def tokenizer(self) -> BPE:
        path = self.folder / "tokenizer.json"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            BPE.train(self.texts[0], self.recipe.model.vocab_size, special_tokens=[END]).save(path)
        return BPE.load(path)

    @cached_property
    def tokens(self) -> tuple[Tensor, Tensor]:
        """The ids of the texts to learn from, and of those held out, with END after each document."""
        encode, end = self.tokenizer.encode, self.tokenizer.special_tokens[END]
        return tuple(torch.tensor([id for text in half for id in [*encode(text), end]]) for half in self.texts)

    @property
    def history(self) -> list[Step]:
        """The steps that were done, as `train` yielded them."""
        path = self.folder / "history.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        steps = {step.step: step for step in (Step(**json.loads(line)) for line in lines if line.endswith("}"))}
        return [steps[number] for number in sorted(steps)]

    def steps(self) -> Iterator[Step]:
        """Train, or go on after a crash, and yield each step; a run that is done yields what it once did.

        At the end the model has its best weights. Another process that wants the same run waits until this one is done.
        """
        recipe, device = self.recipe, next(self.model.parameters()).device
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock"):
            if (history := self.history) and history[-1].step == recipe.steps:
                yield from history
            else:
                for step in self._train(device):
                    with open(self.folder / "history.jsonl", "a", encoding="utf-8") as file:
                        file.write(
                            "\n" + json.dumps(dataclasses.asdict(step))
                        )  # a line cut short by a crash stays alone
                    yield step
        load_checkpoint(self.folder / "best", self.model)
        self.model.eval()

    def _train(self, device: torch.device) -> Iterator[Step]:
        recipe, (text, held_out), length = self.recipe, self.tokens, self.recipe.model.max_len + 1
        windows = held_out[: len(held_out) // length * length].view(-1, length)
        windows = windows[:: max(1, len(windows) // _N_WINDOWS)]  # all over the documents
        every = max(1, recipe.steps // 10)
        steps = train(
            self.model,
            Batches(text, batch_size=recipe.batch_size, length=length, seed=recipe.seed),
            steps=recipe.steps,
            lr=partial(warmup_cosine, warmup=recipe.warmup, total=recipe.steps, peak=recipe.lr, floor=recipe.lr / 100),
            optimizer=_OPTIMIZERS[recipe.optimizer](
                self.model, weight_decay=recipe.weight_decay, betas=(0.9, recipe.beta2)
            ),
            autocast=device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False),
            validation=[causal_lm(part) for part in windows.split(recipe.batch_size)],
            evaluate_every=every,
            folder=self.folder,
            save_every=every,
            resume=True,
        )
        with torch.random.fork_rng():  # dropout draws from torch's own generator, which is the run's until it ends
            torch.manual_seed(recipe.seed)
            for step in steps:
                if math.log10(step.step).is_integer():
                    save_checkpoint(self.folder / f"step-{step.step}", self.model, step=step.step)
                yield step

    def at(self, step: int) -> GPT:
        """The model as it was after step 0, 1, 10, 100, ... of a run that is done."""
        model = Run(self.recipe, folder=self.folder.parent).model
        if step:
            load_checkpoint(self.folder / f"step-{step}", model)
        return model.to(next(self.model.parameters()).device).eval()


def trained(recipe: Recipe, *, device: str | torch.device = "cpu", folder: str | os.PathLike | None = None) -> Run:
    """The run of a recipe, done: loaded where it was made before, else made now, with a progress bar.

    Book: pretraining.
    """
    run = Run(recipe, device=device, folder=folder)
    for _ in tqdm(run.steps(), total=recipe.steps, desc=recipe.key):
        pass
    return run


def cache_folder() -> Path:
    """Where trained models are kept: LMBOOK_CACHE, or lmbook in XDG_CACHE_HOME, which is ~/.cache unless set."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LMBOOK_CACHE") or Path(caches) / "lmbook")
