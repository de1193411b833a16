"""The playground's page in a folder of its own, with a small random model, and a browser that opens it."""

import functools
import http.server
import runpy
import shutil
import threading
from types import SimpleNamespace

import pytest
import torch

from lmbook.text.bpe import BPE
from lmbook.transformer import GPT, GPTConfig

from ..conftest import ROOT, Handler

SOURCE = ROOT / "web" / "static" / "playground"
SCRIPT = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "playground.py")))
PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Playground</title>
<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="playground.css"><script type="module" src="playground.js"></script></head>
<body style="margin: 8px"><main><h1>Playground</h1>{body}</main></body></html>"""
TEXTS = [
    "ROMEO.\nO, speak again, bright angel!\n\n",
    "你好，世界。 Grüße, naïve café! ",
    "don't we'll 12 345 🙂🙂 \t\n x",
]


@pytest.fixture(scope="module")
def tokenizer():
    return BPE.train(TEXTS * 3, 300, special_tokens=["<|endoftext|>"])


def loud(tokenizer, *, max_len=40, std=0.3, **sizes):
    """A random GPT whose weights, unlike fresh ones, make every part of it count."""
    choices = {"d_model": 32, "n_layers": 2, "n_heads": 4} | SCRIPT.CHOICES | sizes
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, max_len=max_len, **choices)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            mean = 1.0 if parameter.ndim == 1 else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std + mean)
    return model


@pytest.fixture
def site(tmp_path, browser):
    """The page in a folder of its own: `open` serves it; what it asks for and complains of is recorded."""
    folder = tmp_path / "site"
    shutil.copytree(SOURCE, folder)
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{httpd.server_port}/"
        contexts, trouble = [], []

        def open_page(*, motion="reduce", width=1280, script=True):
            weights = folder / "model" / "weights.bin"
            body = (SOURCE / "playground.html").read_text(encoding="utf-8")
            body = body.replace('data-bytes=""', f'data-bytes="{weights.stat().st_size if weights.exists() else 0}"')
            (folder / "index.html").write_text(PAGE.format(body=body), encoding="utf-8")
            size = {"width": width, "height": 900}
            context = browser.new_context(viewport=size, reduced_motion=motion, java_script_enabled=script)
            contexts.append(context)
            context.set_default_timeout(10_000)
            page = context.new_page()
            page.on("console", lambda message: trouble.append(message.text))
            page.on("pageerror", lambda error: trouble.append(str(error)))
            page.on("request", lambda sent: None if sent.url.startswith((home, "data:")) else trouble.append(sent.url))
            page.goto(home)
            return page

        yield SimpleNamespace(model=folder / "model", open=open_page, trouble=trouble)
        for context in contexts:
            context.close()
        httpd.shutdown()


def says(page, text):
    page.wait_for_function("text => document.querySelector('.pg-status').textContent.includes(text)", arg=text)


def written(page):
    """The ids that stand on the page."""
    shown = page.locator(".pg-text [role=radio]").evaluate_all("all => all.map(token => token.dataset.token)")
    return [int(token.split()[0]) for token in shown]
