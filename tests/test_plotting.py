"""show, heatmap, the style, and what the explorer writes; tests/book/test_explorer.py tries it in a browser."""

import json
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")

from lmbook.exercises import core  # noqa: E402
from lmbook.plotting import COLOURS, attention_explorer, heatmap, show, use_style  # noqa: E402


@pytest.fixture
def displayed(monkeypatch):
    """What show() hands to the notebook."""
    seen = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: seen.append(data))
    return seen


def test_show_displays_the_source_itself(displayed):
    show(core.compare, core.WrongAnswer)
    for data, name, first in zip(
        displayed, ("compare", "WrongAnswer"), ("def compare(", "class WrongAnswer("), strict=True
    ):
        where, source = re.fullmatch(r"`(\S+)`\n\n```python\n(.*)\n```", data["text/markdown"], re.S).groups()
        assert data["text/plain"] == where == f"lmbook.exercises.core.{name}"
        assert source.startswith(first) and source in open(core.__file__, encoding="utf-8").read()


def test_show_dedents_a_method_and_looks_through_decorators(displayed):
    show(core.WrongAnswer._render_traceback_)
    assert "```python\ndef _render_traceback_(self)" in displayed[0]["text/markdown"]
    decorated = core.exercise(core.describe)
    show(decorated)
    assert "```python\ndef describe(value)" in displayed[1]["text/markdown"]


def test_show_survives_a_fence_in_the_source(displayed, monkeypatch):
    monkeypatch.setattr("inspect.getsource", lambda obj: "def f():\n    '''```'''\n")
    show(core.compare)
    assert displayed[0]["text/markdown"].endswith("````python\ndef f():\n    '''```'''\n````")


@pytest.mark.parametrize(
    "obj, name", [(len, "len"), (torch.nn.Linear, "Linear"), (3, "int"), (np.zeros(2), "ndarray"), (None, "NoneType")]
)
def test_show_refuses_what_is_not_of_the_package(obj, name):
    with pytest.raises(TypeError, match=name):
        show(obj)


def test_heatmap_draws_every_number_readably():
    weights = torch.tensor([[0.9, 0.1], [0.25, 0.75]], requires_grad=True)
    ax = heatmap(weights, ["a", "b"], ["x", "y"], title="who looks where")
    assert [text.get_text() for text in ax.texts] == ["0.90", "0.10", "0.25", "0.75"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["x", "y"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_title() == "who looks where" and ax.get_xlabel() and ax.get_ylabel()
    image = ax.images[0]
    assert image.get_clim() == pytest.approx((0, 0.9))
    for text, value in zip(ax.texts, [0.9, 0.1, 0.25, 0.75], strict=True):
        assert contrast(image.to_rgba(value)[:3], matplotlib.colors.to_rgb(text.get_color())) > 4.5


def contrast(one, other):
    """Of two colours, as WCAG defines it."""
    channels = np.array([one, other])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_heatmap_numbers_are_readable_on_every_shade(low):
    values = np.linspace(low, 1, 100).reshape(10, 10)
    ax = heatmap(values, range_of(10), range_of(10))
    for text, value in zip(ax.texts, values.flat, strict=True):
        assert contrast(ax.images[0].to_rgba(value)[:3], matplotlib.colors.to_rgb(text.get_color())) > 4.5


def range_of(n):
    return [str(i) for i in range(n)]


def test_heatmap_of_scores_is_centred_on_zero_and_marks_masked_cells():
    ax = heatmap([[-2.0, 1.0], [0.5, -np.inf]], "ab", "ab")
    assert ax.images[0].get_clim() == (-2, 2)
    assert ax.images[0].get_array().mask.tolist() == [[False, False], [False, True]]
    assert ax.texts[-1].get_text() == "-∞"


def test_a_large_heatmap_has_a_colour_bar_instead_of_numbers():
    ax = heatmap(np.ones((11, 11)), range_of(11), range_of(11))
    assert not ax.texts and len(ax.figure.axes) == 2


def test_heatmap_draws_where_it_is_told():
    _, (left, _) = matplotlib.pyplot.subplots(1, 2)
    assert heatmap([[1.0]], "a", "a", ax=left, annotate=False) is left and not left.texts


@pytest.mark.parametrize("weights", [np.ones((2, 3)), np.ones(2), np.ones((1, 2, 2))])
def test_heatmap_refuses_another_shape(weights):
    with pytest.raises(ValueError, match=r"weights must have shape \(2, 2\)"):
        heatmap(weights, "ab", "ab")


def test_the_style_is_applied():
    with matplotlib.rc_context():
        use_style()
        assert matplotlib.rcParams["figure.facecolor"] == "white"
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == COLOURS


TOKENS = ["The", "Ġcat", "Ġ", "</script><b>"]
WEIGHTS = (torch.arange(2.0 * 3 * 16).reshape(2, 3, 4, 4).sin() - torch.full((4, 4), torch.inf).triu(1)).softmax(-1)


def data_of(explorer):
    html = explorer._repr_html_()
    return json.loads(re.search(r'class="lm-explorer-data">(.*?)</script>', html, re.S).group(1))


def test_the_explorer_carries_the_weights_as_whole_percents():
    data = data_of(attention_explorer(TOKENS, WEIGHTS))
    assert data["tokens"] == ["The", "cat", "␣", "</script><b>"] and data["labels"] == ["0", "1"] and data["causal"]
    for layer in range(2):
        for head in range(3):
            for query in range(4):
                want = WEIGHTS[layer, head, query, : query + 1] * 100
                assert np.abs(np.array(data["weights"][layer][head][query]) - want.numpy()).max() <= 0.5 + 1e-4


def test_the_explorer_keeps_what_lies_ahead_where_tokens_look_ahead():
    data = data_of(attention_explorer("abcd", torch.full((1, 1, 4, 4), 0.25), labels=["last"]))
    assert not data["causal"] and data["weights"] == [[[[25] * 4] * 4]] and data["labels"] == ["last"]


def test_the_explorer_is_the_same_text_every_time_and_asks_for_nothing():
    first, second = (attention_explorer(TOKENS, WEIGHTS) for _ in range(2))
    assert first._repr_html_() == second._repr_html_() and repr(first) == repr(second)
    assert repr(first) == "AttentionExplorer(2 layers, 3 heads, 4 tokens)"
    html = first._repr_html_()
    assert not re.search(r"""https?:|//\w+\.|src=|href=|@import|url\(|\bid=""", html)
    assert html.count("</script>") == 2 and "<b>" not in html and "&lt;b&gt;" in html


@pytest.mark.parametrize(
    "weights, labels, message",
    [
        (WEIGHTS[0], None, r"weights must have shape \(layers, heads, 4, 4\).*got \(3, 4, 4\)"),
        (WEIGHTS[..., :3], None, r"got \(2, 3, 4, 3\)"),
        (WEIGHTS * 3, None, "between 0 and 1"),
        (WEIGHTS.log(), None, "between 0 and 1"),
        (WEIGHTS * torch.nan, None, "between 0 and 1"),
        (WEIGHTS, ["one"], "labels must name each of the 2 layers, got 1"),
    ],
)
def test_the_explorer_refuses_bad_input(weights, labels, message):
    with pytest.raises(ValueError, match=message):
        attention_explorer(TOKENS, weights, labels=labels)


def test_importing_plotting_does_not_import_matplotlib():
    program = "import sys, lmbook.plotting; print([m for m in ('matplotlib', 'IPython') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
