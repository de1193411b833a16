"""Every page of the built book in a browser: complete, self-contained, silent, accessible, and fit for a phone."""

import contextlib
import re
from types import SimpleNamespace

import pytest
from playwright.sync_api import TimeoutError

from .conftest import HTML, ROOT, unavailable

PAGES = sorted(str(file.relative_to(HTML)) for file in [*HTML.glob("book/**/*.html"), *HTML.glob("[gs]e*.html")])
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
MAX_BYTES = 1_500_000  # what a page may transfer at first, compressed as hosts do, without its pictures
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
FILE_NAME = re.compile(r"[/\\]|\.(png|svg|jpe?g|gif|webp)$", re.IGNORECASE)
SCROLL_THROUGH = """async () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  for (const button of document.querySelectorAll(".admonition.toggle-hidden .toggle-button")) button.click();
  for (let y = 0; y < document.body.scrollHeight; y += innerHeight / 2) {
    scrollTo({top: y, behavior: "instant"});
    await new Promise(requestAnimationFrame);
  }
  scrollTo({top: 0, behavior: "instant"});
}"""

DRAWN = """() => !document.querySelector('pre.mermaid:not(:has(> svg)), .pg:not([data-bytes="0"]) form[hidden]')"""
REACHABLE = "() => [...document.querySelectorAll('pre')].every(e => e.scrollWidth <= e.clientWidth || e.tabIndex === 0)"


def settle(page, condition):
    """Wait for a condition, but not for ever: the test that follows says what is wrong."""
    with contextlib.suppress(TimeoutError):
        page.wait_for_function(condition, timeout=30_000)


def test_book_is_built():
    if not PAGES:
        unavailable("the book is not built: run `make book` first")


@pytest.fixture(scope="module")
def tab(browser, server):
    """A page of the browser that keeps a record of what it asked for and what it said."""
    context = browser.new_context(viewport=DESKTOP, color_scheme="light")
    page = context.new_page()
    seen = SimpleNamespace(page=page, server=server, trouble=[], bytes=0)

    def refuse(route):
        if route.request.url.startswith((server, "data:", "blob:")):
            route.continue_()
        else:
            seen.trouble.append(f"foreign request: {route.request.url}")
            route.abort()

    def weigh(request):
        # The model of the playground is heavier on purpose. Its page says how heavy, and loads it when one comes to it.
        if request.resource_type != "image" and "/playground/model/" not in request.url:
            sizes = request.sizes()
            seen.bytes += sizes["responseBodySize"] + sizes["responseHeadersSize"]

    def refused(response):
        if response.status >= 400:
            seen.trouble.append(f"{response.status}: {response.url}")

    page.route("**/*", refuse)
    page.on("requestfinished", weigh)
    page.on("requestfailed", lambda request: seen.trouble.append(f"failed request: {request.url}"))
    page.on("response", refused)
    page.on("console", lambda message: seen.trouble.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: seen.trouble.append(f"page error: {error}"))
    yield seen
    context.close()


@pytest.fixture(scope="module", params=PAGES)
def opened(tab, request):
    """The page loaded afresh, with all that is folded unfolded and all that is drawn late drawn."""
    tab.trouble.clear()
    tab.bytes = 0
    tab.page.set_viewport_size(DESKTOP)
    tab.page.goto(f"{tab.server}/{request.param}", wait_until="networkidle")
    tab.first_load = tab.bytes
    tab.page.add_style_tag(content="* { transition: none !important; animation: none !important }")
    tab.page.evaluate(SCROLL_THROUGH)
    tab.page.wait_for_load_state("networkidle")
    has_math = tab.page.locator(".math").count()
    if has_math:
        tab.page.evaluate("() => window.MathJax?.startup?.promise")
    settle(tab.page, DRAWN)
    return tab


def test_page_is_self_contained_and_silent(opened):
    """No foreign or failed request, no console entry, no error."""
    assert opened.trouble == []


def test_page_is_light(opened):
    assert opened.first_load <= MAX_BYTES


def test_every_equation_is_rendered(opened):
    raw = opened.page.evaluate(
        """() => [...document.querySelectorAll(".math")]
                 .filter(e => !e.querySelector("mjx-container") || e.querySelector("mjx-merror, merror"))
                 .map(e => e.textContent)"""
    )
    assert raw == []


def test_every_diagram_is_drawn_and_labelled(opened):
    wrong = opened.page.evaluate(
        """() => [...document.querySelectorAll(".mermaid")]
                 .filter(e => !e.querySelector("svg > title") || e.querySelector("svg[aria-roledescription=error]"))
                 .map(e => e.closest('section')?.id)"""
    )
    assert wrong == [], "in these sections: not drawn, or without accTitle"


def test_every_picture_is_described(opened):
    pictures = opened.page.evaluate(
        "() => [...document.querySelectorAll('img')].map(e => [e.getAttribute('alt'), e.src, e.naturalWidth])"
    )
    wrong = [p for p in pictures if not (p[0] or "").strip() or FILE_NAME.search(p[0].strip()) or p[2] == 0]
    assert wrong == [], "no alt text, or a file name, or no picture"


@pytest.mark.parametrize("mode, size", [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE)],
                         ids=["light", "dark", "phone"])  # fmt: skip
def test_page_is_accessible(opened, mode, size):
    """axe-core finds nothing."""
    page = opened.page
    page.set_viewport_size(size)
    page.evaluate("mode => { document.documentElement.dataset.theme = document.documentElement.dataset.mode = mode }",
                  mode)  # fmt: skip
    settle(page, DRAWN)
    settle(page, REACHABLE)  # some time after a change of size, the theme marks what scrolls
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
                 .flatMap(v => v.nodes.map(n => `${v.id}: ${n.html.slice(0, 200)} ${n.failureSummary}`))"""
    )
    assert found == []


def test_page_fits_a_phone(opened):
    page = opened.page
    page.set_viewport_size(PHONE)
    page.evaluate("() => new Promise(requestAnimationFrame)")
    wide = page.evaluate(
        """() => {
          const scrolls = e => e && (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)
                                     && e.tagName !== "BODY" && e.tagName !== "HTML" || scrolls(e.parentElement));
          return [...document.body.querySelectorAll("*")]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e.parentElement))
            .slice(0, 5).map(e => e.outerHTML.slice(0, 150));
        }"""
    )
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"], wide


def test_search_finds_a_known_word(tab):
    tab.trouble.clear()
    tab.page.set_viewport_size(DESKTOP)
    tab.page.goto(f"{tab.server}/search.html?q=attention", wait_until="networkidle")
    tab.page.wait_for_selector("#search-results li a", timeout=10_000)
    assert tab.page.locator("#search-results li").count() >= 1
    assert tab.trouble == []
