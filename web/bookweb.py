"""Sphinx extension of this book: local web assets, links to the host, and accessible pages."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError

WEB = Path(__file__).parent
MODULES = WEB / "node_modules"
MODEL = WEB.parent / "_build" / "playground"  # what scripts/playground.py writes; the book can be built without it
# What pages load, as (folder of the npm package, folder under _static, patterns of the files needed).
ASSETS = [
    ("mathjax/es5", "mathjax", ["startup.js", "core.js", "input/tex.js", "input/tex/extensions/*.js",
                                "output/chtml.js", "output/chtml/fonts/tex.js", "output/chtml/fonts/woff-v2/*.woff",
                                "a11y/assistive-mml.js"]),
    ("mermaid/dist", "mermaid", ["mermaid.esm.min.mjs", "chunks/mermaid.esm.min/*.mjs"]),
]  # fmt: skip
# Listeners of these extensions would put scripts from other hosts, or console messages, on every page.
SILENCED = ("sphinx_thebe", "sphinxcontrib.mermaid", "sphinx_comments")


def repository():
    """Return "owner/name" of the GitHub repository of this tree, or None where it is not known."""
    name = os.environ.get("GITHUB_REPOSITORY")
    if not name:
        command = ["git", "-C", str(WEB), "remote", "get-url", "origin"]
        try:
            url = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = re.search(r"github\.com[:/](.+?)(?:\.git)?/?$", url)
        name = found.group(1) if found else ""
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None


def configure(app, config):
    """Add templates and styles, and the links to the repository where it is known."""
    config.templates_path.append(str(WEB / "templates"))
    config.html_static_path.append(str(WEB / "static"))
    if repository():
        config.html_theme_options |= {
            "repository_url": f"https://github.com/{repository()}",
            "repository_branch": "main",
            "use_repository_button": True,
            "use_edit_page_button": True,
        }


def copy_assets(app):
    """Copy what the pages load from web/node_modules to the HTML output."""
    if app.builder.format != "html":
        return
    for source, target, patterns in ASSETS:
        for pattern in patterns:
            files = sorted((MODULES / source).glob(pattern))
            if not files:
                raise ExtensionError(f"web/node_modules/{source}/{pattern} is missing: run `make web` first")
            for file in files:
                copy = Path(app.outdir, "_static", target, file.relative_to(MODULES / source))
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
    model = Path(app.outdir, "_static", "playground", "model")
    shutil.rmtree(model, ignore_errors=True)
    if MODEL.is_dir():
        shutil.copytree(MODEL, model)


def silence(app):
    """Disconnect the listeners that add scripts which this book replaces or does not want."""
    for event, listeners in app.events.listeners.items():
        app.events.listeners[event] = [x for x in listeners if not x.handler.__module__.startswith(SILENCED)]


def has(doctree, *names):
    """True if the page holds a node of one of these names."""
    return doctree is not None and any(node.tagname in names for node in doctree.findall(nodes.Element))


def load(app, context, doctree):
    """Load on a page only what it needs."""
    unneeded = ["thebe"]
    if 'id="lm-playground"' in context.get("body", ""):
        app.add_js_file("playground/playground.js", type="module")
        app.add_css_file("playground/playground.css")
        weights = MODEL / "weights.bin"  # the page is told whether they are there, and asks for nothing that is not
        size = weights.stat().st_size if weights.exists() else 0
        context["body"] = context["body"].replace('data-bytes=""', f'data-bytes="{size}"')
    if has(doctree, "mermaid"):
        app.add_js_file("diagrams.js", type="module")
    if has(doctree, "math", "math_block"):
        app.add_js_file("equations.js", type="module")
    else:
        unneeded.append("mathjax/")
    if "sd-" not in context.get("body", ""):
        unneeded.append("design")
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context[kind] if not any(name in str(file.filename) for name in unneeded)]


def mend(body):
    """Repair what docutils, MyST-NB and pandas write against the rules of accessible HTML."""
    # "Toggle hidden content" hides the visible text of the summary from a screen reader.
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    body = re.sub(r"<th\b([^>]*)>(?:<p></p>)?</th>", r"<td\1></td>", body)
    # Deprecated roles of citations and footnotes, and the list that would have to hold list items.
    body = re.sub(r' role="doc-(biblioentry|backlink|footnote|noteref)"', "", body)
    return body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')


def finish_page(app, pagename, templatename, context, doctree):
    """Choose the page's scripts, mend its HTML, and add the Colab button where the host is known."""
    load(app, context, doctree)
    context["body"] = mend(context.get("body", ""))
    source = app.env.doc2path(pagename, base=False) if pagename in app.env.found_docs else ""
    if repository() and source.endswith(".ipynb"):
        context["header_buttons"].append({
            "type": "link",
            "text": "Colab",
            "tooltip": "Open this chapter in Colab",
            "icon": "fas fa-rocket",
            "url": f"https://colab.research.google.com/github/{repository()}/blob/colab/{source}",
            "label": "launch-colab",
        })  # fmt: skip


def hush(app, exception):
    """Take the progress notes that the theme and its friends write to the reader's console out of their scripts."""
    if exception is None and app.builder.format == "html":
        static = Path(app.outdir, "_static")
        for script in [*static.glob("*.js"), *static.glob("scripts/*.js"), Path(app.outdir, "search.html")]:
            text = script.read_text(encoding="utf-8")
            if "console.log(" in text:
                script.write_text(text.replace("console.log(", "void("), encoding="utf-8")


def setup(app):
    silence(app)
    app.connect("config-inited", configure)
    app.connect("builder-inited", copy_assets)
    app.connect("html-page-context", finish_page, priority=600)
    app.connect("build-finished", hush)
    app.add_css_file("book.css")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
