"""The attention explorer in a browser: pointer, keys and lists move it, and it shows the weights it was given."""

import os
import re
from pathlib import Path

import pytest
import torch

from lmbook.plotting import attention_explorer

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
TOKENS = "The Ġcat Ġsat Ġon Ġthe Ġmat Ġbecause Ġit Ġwas Ġso Ġtired Ġ.".split()
N = len(TOKENS)
AHEAD = torch.full((N, N), -torch.inf).triu(1)
WEIGHTS = (4 * torch.randn(3, 2, N, N, generator=torch.Generator().manual_seed(0)) + AHEAD).softmax(-1)
PAGE = """<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>Explorer</title>
<meta name="viewport" content="width=device-width"></head><body style="margin: 8px; background: {ground}">
<main><h1 style="color: {text}">Explorer</h1>{one}{two}</main></body></html>"""
GROUNDS = {"light": {"ground": "white", "text": "black"}, "dark": {"ground": "#14181e", "text": "white"}}


@pytest.fixture(params=["light", "dark"])
def page(request, browser):
    """A page with two explorers: one of a causal model, one whose tokens look both ways."""
    both_ways = attention_explorer(TOKENS, torch.full((1, 1, N, N), 1 / N))
    html = PAGE.format(
        theme=request.param,
        one=attention_explorer(TOKENS, WEIGHTS)._repr_html_(),
        two=both_ways._repr_html_(),
        **GROUNDS[request.param],
    )
    page = browser.new_page(viewport={"width": 390, "height": 800})
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda sent: problems.append(sent.url) if not sent.url.startswith(("about:", "data:")) else None)
    page.set_content(html)
    yield page
    page.close()
    assert not problems


def shading(explorer):
    """The opacity of each token's background, in whole percents."""
    colours = explorer.locator("button").evaluate_all("all => all.map(b => getComputedStyle(b).backgroundColor)")
    alphas = [re.fullmatch(r"rgba?\(\d+, \d+, \d+(?:, ([\d.]+))?\)", colour).group(1) for colour in colours]
    return [round(100 * float(alpha or 1)) for alpha in alphas]


def expect(explorer, layer, head, query):
    """The explorer shows this row of the weights, in its shades, its sentence and its list."""
    want = (WEIGHTS[layer, head, query] * 100).round().int().tolist()
    assert [abs(a - b) <= 1 for a, b in zip(shading(explorer), want, strict=True)] == [True] * N
    chosen = explorer.locator("button").evaluate_all("all => all.map(b => b.getAttribute('aria-checked'))")
    assert [value == "true" for value in chosen] == [i == query for i in range(N)]
    names = [token.strip("Ġ") for token in TOKENS]
    top = sorted(range(query + 1), key=lambda i: (-want[i], i))[:5]
    summary = explorer.locator("[aria-live=polite]").inner_text()
    assert summary.startswith(f"Layer {layer}, head {head}: “{names[query]}” looks most at “{names[top[0]]}”")
    listed = explorer.locator("ol li").all_inner_texts()
    assert [line.split() for line in listed] == [[str(i), names[i], str(want[i]), "%"] for i in top]


def test_pointer_keys_and_lists_choose(page):
    explorer = page.locator(".lm-explorer").first
    expect(explorer, 0, 0, N - 1)
    explorer.locator("button").nth(5).hover()
    expect(explorer, 0, 0, 5)

    explorer.get_by_label("Layer").select_option(label="2")
    explorer.get_by_label("Head").select_option(label="1")
    expect(explorer, 2, 1, 5)

    assert explorer.get_by_role("radiogroup", name="The token that looks").get_by_role("radio").count() == N
    explorer.get_by_label("Head").focus()
    page.keyboard.press("Tab")
    for key, query in [
        ("ArrowRight", 6),
        ("ArrowDown", 7),
        ("ArrowLeft", 6),
        ("ArrowUp", 5),
        ("Home", 0),
        ("ArrowLeft", 0),
        ("End", N - 1),
        ("ArrowRight", N - 1),
    ]:
        page.keyboard.press(key)
        expect(explorer, 2, 1, query)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SELECT", "one Tab leaves the tokens"

    explorer.get_by_label("Layer").focus()
    page.keyboard.press("ArrowUp")
    expect(explorer, 1, 1, N - 1)


def test_two_explorers_do_not_touch_each_other(page):
    first, second = page.locator(".lm-explorer").all()
    second.locator("button").nth(2).click()
    expect(first, 0, 0, N - 1)
    assert shading(second) == [8] * N
    assert "“sat” looks most at “The” (8 %)" in second.locator("[aria-live=polite]").inner_text()


def test_the_focus_can_be_seen(page):
    page.locator(".lm-explorer select").first.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_it_fits_a_telephone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_axe_finds_nothing_at_any_token(page, browser):
    if not AXE.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "axe-core is not installed: run `make book` first"
        )
    page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    for query in (0, 4, N - 1):
        page.locator(".lm-explorer button").nth(query).hover()
        violations = page.evaluate("axe.run().then(result => result.violations)")
        assert not [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in violations]
