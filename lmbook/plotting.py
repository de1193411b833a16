"""What the chapters show things with: source code, heat maps, and an attention map to explore by hand."""

import html
import inspect
import json
import textwrap
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
import torch

# Okabe and Ito's colours, told apart with any colour vision; the yellow is left out, it is too pale on white.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"]


def show(*objects) -> None:
    """Display the source of classes, functions or methods of this package, highlighted."""
    from IPython.display import display

    for obj in objects:
        where, source = _source(obj)
        fence = "````" if "```" in source else "```"
        markdown = f"`{where}`\n\n{fence}python\n{source}\n{fence}"
        display({"text/markdown": markdown, "text/plain": where}, raw=True)


def _source(obj) -> tuple[str, str]:
    obj = inspect.unwrap(obj) if callable(obj) else obj
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if not name or not (module or "").split(".")[0] == "lmbook":
        raise TypeError(f"show() takes classes and functions of lmbook, got {name or type(obj).__name__} of {module}")
    try:
        source = inspect.getsource(obj)
    except (OSError, TypeError):
        raise TypeError(f"show() found no Python source of {module}.{name}") from None
    return f"{module}.{name}", textwrap.dedent(source).rstrip()


def use_style() -> None:
    """Give the figures that follow the look of the book: white ground, clear type, colours safe for all eyes."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.6),
            "figure.dpi": 120,
            "savefig.dpi": 120,
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#DDDDDD",
            "grid.linewidth": 0.6,
            "lines.linewidth": 1.8,
            "legend.frameon": False,
            "image.cmap": "Blues",
            "axes.prop_cycle": cycler(color=COLOURS),
        }
    )


def heatmap(
    weights,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    ax=None,
    title: str = "",
    annotate: bool = True,
    xlabel: str = "key: the token looked at",
    ylabel: str = "query: the token that looks",
):
    """Draw a matrix as shaded cells, with its numbers when there are few, and return the axes.

    Matrices without negative numbers go from white to blue, others from brown through white to green; a cell that is
    not finite, such as a masked score, is left grey.

    Raises: ValueError if `weights` is not a matrix of len(rows) x len(columns).
    """
    import matplotlib.pyplot as plt

    weights = _array(weights)
    if weights.shape != (len(rows), len(columns)):
        raise ValueError(f"weights must have shape ({len(rows)}, {len(columns)}) for these labels, got {weights.shape}")
    if ax is None:
        _, ax = plt.subplots()
    shown = np.ma.masked_invalid(weights)
    largest = float(np.abs(shown).max()) if shown.count() else 1.0
    lowest = -largest if shown.count() and shown.min() < 0 else 0.0
    ax.set_facecolor("#BBBBBB")
    image = ax.imshow(shown, vmin=lowest, vmax=largest or 1.0, cmap="BrBG" if lowest < 0 else "Blues", aspect="auto")
    ax.set_xticks(range(len(columns)), columns, rotation=45 if max(map(len, columns), default=0) > 4 else 0)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.grid(False)
    if annotate and weights.size <= 100:
        for (row, column), value in np.ndenumerate(weights):
            luminance = np.array([0.2126, 0.7152, 0.0722]) @ np.array(image.to_rgba(value)[:3]) ** 2.2
            colour = "white" if luminance < 0.18 and np.isfinite(value) else "black"
            ax.text(column, row, f"{value:.2f}".replace("inf", "∞"), ha="center", va="center", color=colour)
    else:
        ax.figure.colorbar(image, ax=ax)
    return ax


def attention_explorer(tokens: Sequence[str], weights, *, labels: Sequence[str] | None = None) -> "AttentionExplorer":
    """Make an attention map to explore: choose a layer, a head and a token, and see where that token looks.

    It needs neither a kernel nor a network. Weights are kept as whole percents, so a weight that stands near a half
    percent may differ by one on another machine: tag the cell that shows the explorer `nbval-ignore-output`.

    Args:
        tokens: the T tokens.
        weights: of shape (layers, heads, T, T); rows are queries and sum to 1.
        labels: a name for each layer, if not its number from 0; for when only some of the layers are shown.
    """
    return AttentionExplorer(tokens, weights, labels)


class AttentionExplorer:
    """A self-contained piece of HTML; shown by being the last value of a cell."""

    def __init__(self, tokens: Sequence[str], weights, labels: Sequence[str] | None = None):
        weights = _array(weights)
        if weights.ndim != 4 or not weights.size or weights.shape[2:] != (len(tokens), len(tokens)):
            raise ValueError(
                f"weights must have shape (layers, heads, {len(tokens)}, {len(tokens)}) for these tokens, "
                f"got {weights.shape}"
            )
        if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.max() <= 1 + 1e-3):
            raise ValueError("weights must be probabilities between 0 and 1: pass the weights, not the scores")
        labels = [str(i) for i in range(len(weights))] if labels is None else list(labels)
        if len(labels) != len(weights):
            raise ValueError(f"labels must name each of the {len(weights)} layers, got {len(labels)}")
        self.tokens, self.labels, self.weights = [_visible(token) for token in tokens], labels, weights

    def _repr_html_(self) -> str:
        causal = not np.triu(self.weights, k=1).any()
        percents = np.rint(self.weights * 100).astype(int).clip(0, 100).tolist()
        if causal:  # a query has no weights on later tokens: leave those zeros out
            percents = [[[row[: i + 1] for i, row in enumerate(head)] for head in layer] for layer in percents]
        data = json.dumps(
            {"tokens": self.tokens, "labels": self.labels, "causal": causal, "weights": percents},
            separators=(",", ":"),
        ).replace("<", "\\u003c")
        template = files("lmbook").joinpath("attention_explorer.html").read_text(encoding="utf-8")
        return template.replace("{{sentence}}", html.escape(" ".join(self.tokens))).replace("{{data}}", data)

    def __repr__(self) -> str:
        layers, heads, length, _ = self.weights.shape
        return f"AttentionExplorer({layers} layers, {heads} heads, {length} tokens)"


def _array(values) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def _visible(token: str) -> str:
    """A token as it can be read: byte-level BPE's Ġ and Ċ as what they stand for, blank ones as a sign."""
    text = token.replace("Ġ", " ").replace("Ċ", "\n").replace("\n", "⏎").strip()
    return text or "␣"
