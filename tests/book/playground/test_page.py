"""The playground's page: it works by keyboard, offline and on a telephone, and what it shows and says is so."""

import json

import numpy as np
import pytest
import torch

from lmbook.generation.decoding import generate
from lmbook.generation.sampling import distribution
from lmbook.transformer import GPT, GPTConfig
from lmbook.transformer.multihead import record_attention

from ..conftest import HTML, unavailable
from .conftest import SCRIPT, loud, says, written


def test_the_keyboard_is_enough(site, tokenizer):
    SCRIPT.export(loud(tokenizer), tokenizer, site.model)
    page = site.open()
    says(page, "The prompt has")

    def tab_to(selector):
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
                return
        pytest.fail(f"the Tab key does not reach {selector}")

    tab_to("[name=prompt]")
    page.keyboard.press("Control+A")
    page.keyboard.type("O, speak")
    prompt = tokenizer.encode("O, speak")
    says(page, f"The prompt has {len(prompt)} tokens")
    assert written(page) == prompt
    tab_to("[name=temperature]")
    page.keyboard.press("Home")
    tab_to("[name=n_tokens]")
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    says(page, "5 tokens written")
    tab_to("[name=one]")
    page.keyboard.press("Space")
    says(page, "Token “")
    with torch.no_grad():
        greedy = list(generate(loud(tokenizer), torch.tensor([prompt]), 6))
    assert written(page) == prompt + greedy

    tab_to(".pg-text [role=radio]")
    assert f"(token {len(prompt) + 5}," in page.locator("#pg-about").inner_text()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert "(token 1," in page.locator("#pg-about").inner_text()
    tab_to(".pg-bars button")
    assert page.evaluate("document.activeElement.value") != "", "one Tab leaves the text"
    chosen = int(page.evaluate("document.activeElement.value"))
    page.keyboard.press("Enter")
    says(page, "appended")
    assert written(page)[-1] == chosen
    assert page.evaluate("document.activeElement.matches('.pg-bars button')"), "the focus stays"
    tab_to(".pg-heads [role=radio]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    assert page.locator("#pg-looks").inner_text().startswith("Layer 1, head 3:")
    page.locator("[name=reset]").focus()
    page.keyboard.press("Enter")
    assert written(page) == prompt
    assert site.trouble == []


def test_it_shows_what_it_says(site, tokenizer):
    """Probability, rank, bars and the look of a head, against PyTorch's; each pointed at, and each in its picture."""
    model = loud(tokenizer)
    SCRIPT.export(model, tokenizer, site.model, prompts=("O, speak again",))
    ids = tokenizer.encode("O, speak again")
    page = site.open()
    says(page, "The prompt has")
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    with torch.no_grad(), record_attention(model) as weights:
        probabilities = model(torch.tensor([ids]))[0].softmax(-1)
    page.locator(".pg-text [role=radio]").nth(3).hover()
    page.locator(".pg-heads [role=radio]").nth(5).click()
    before = probabilities[2]
    rank = 1 + int((before > before[ids[3]]).sum())
    share = f"{100 * before[ids[3]]:.1f} %" if before[ids[3]] >= 0.001 else "< 0.1 %"
    assert f"the model gave it {share}, rank {rank} of 300." in page.locator("#pg-about").inner_text()
    row = weights[1][0, 1, 3]
    most = int(row.argmax())
    assert f"(token {most}, {100 * row[most]:.1f} %)" in page.locator("#pg-looks").inner_text()
    pixels = page.evaluate(
        """() => { const canvas = document.querySelector(".pg-matrix"), n = canvas.width;
                   return [n, [...canvas.getContext("2d").getImageData(0, 3, n, 1).data]]; }"""
    )
    opacity = torch.tensor(pixels[1]).reshape(-1, 4)[:, 3] / 255
    assert pixels[0] == len(ids)
    torch.testing.assert_close(opacity[:4], row[:4].sqrt().clamp(min=0.2), atol=0.01, rtol=0)
    assert (opacity[4:] == 0).all(), "no token looks at a later one"

    page.locator("[name=temperature]").fill("1.5")
    page.locator("[name=top_k]").fill("3")
    after = distribution(probabilities[-1].log(), temperature=1.5, top_k=3)
    for button, id in zip(
        page.locator(".pg-bars button").all(), probabilities[-1].argsort(descending=True), strict=False
    ):
        assert int(button.get_attribute("value")) == id
        shown = button.locator("b").all_inner_texts()
        assert shown[1] == (f"{100 * after[id]:.1f} %" if after[id] else "–")


def test_the_same_seed_writes_the_same_text(site, tokenizer):
    SCRIPT.export(loud(tokenizer, std=0.1), tokenizer, site.model)
    page = site.open()
    says(page, "The prompt has")
    texts = []
    for button in ("Generate", "Reset", "Generate", "Another seed"):
        page.get_by_role("button", name=button).click()
        says(page, "The prompt has" if button == "Reset" else "is full")
        texts.append(written(page))
    assert texts[0] == texts[2] != texts[3]


def test_it_works_offline_and_asks_nobody(site, tokenizer):
    SCRIPT.export(loud(tokenizer), tokenizer, site.model)
    page = site.open()
    says(page, "The prompt has")
    page.context.set_offline(True)
    page.get_by_role("button", name="Generate").click()
    says(page, "is full")
    assert site.trouble == []


def test_one_can_watch_it_write_and_stop_it(site, tokenizer):
    SCRIPT.export(loud(tokenizer, max_len=400), tokenizer, site.model)
    page = site.open(motion="no-preference")
    says(page, "The prompt has")
    before = len(written(page))
    page.locator("[name=n_tokens]").fill("390")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_function("n => document.querySelectorAll('.pg-text [role=radio]').length > n", arg=before + 3)
    page.get_by_role("button", name="Stop").click()
    says(page, "written")
    assert before + 3 < len(written(page)) < 380
    page.get_by_role("button", name="Generate").click()
    page.locator("[name=prompt]").fill("x")  # a new prompt ends it too
    says(page, "The prompt has 1 token.")
    page.wait_for_timeout(100)
    assert len(written(page)) == 1


def test_the_end_of_the_context_is_announced(site, tokenizer):
    SCRIPT.export(loud(tokenizer, max_len=12), tokenizer, site.model, prompts=("O, O",))
    page = site.open()
    says(page, "The prompt has")
    page.get_by_role("button", name="Generate").click()
    says(page, "The context of 12 tokens is full")
    assert len(written(page)) == 12
    page.locator(".pg-bars button").first.click(force=True)
    page.get_by_role("button", name="One token").click(force=True)
    assert len(written(page)) == 12
    page.locator("[name=prompt]").fill("speak again " * 9)
    says(page, "the context holds 12")
    assert len(written(page)) == 12
    page.locator("[name=prompt]").fill("")
    says(page, "at least one token")
    assert page.locator(".pg-shown").is_hidden() and site.trouble == []


def test_it_fits_a_telephone(site, tokenizer):
    SCRIPT.export(loud(tokenizer, n_heads=8, max_len=60), tokenizer, site.model)
    page = site.open(width=390)
    says(page, "The prompt has")
    page.get_by_role("button", name="Generate").click()
    says(page, "is full")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_weights_it_says_so(site):
    page = site.open()
    says(page, "The weights of the model are missing from this copy of the book.")
    assert page.locator("form").is_hidden() and site.trouble == []


def test_without_javascript_it_says_so(site):
    page = site.open(script=False)
    assert "JavaScript, which is switched off" in page.locator(".pg noscript").text_content()
    assert page.locator("form").is_hidden()


@pytest.mark.parametrize("damage", ["truncated", "other weights", "another format"])
def test_damaged_weights_are_refused(site, tokenizer, damage):
    SCRIPT.export(loud(tokenizer), tokenizer, site.model)
    weights, description = site.model / "weights.bin", site.model / "model.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "other weights":
        weights.write_bytes(bytes(weights.stat().st_size))
    else:
        description.write_text(description.read_text().replace(SCRIPT.FORMAT, "lmbook-playground-0"))
    page = site.open()
    says(page, "could not be loaded")
    assert page.locator("form").is_hidden() and page.locator(".pg-shown").is_hidden()


def test_the_page_of_the_book_runs_the_trained_model(server, browser):
    """What stands in the book: its files make the same model in Python, which writes the same text."""
    folder = HTML / "_static" / "playground" / "model"
    if not (HTML / "book" / "pretraining" / "playground.html").exists():
        unavailable("the playground is not in the book that is built")
    assert folder.is_dir(), "the book was built without the weights: run `make book`"
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    numbers = np.fromfile(folder / "weights.bin", dtype="<f2").astype(np.float32)
    model = GPT(GPTConfig(**description["config"])).eval()
    for name, tensor in model.state_dict().items():
        if name in description["tensors"]:
            start = description["tensors"][name]["offset"] // 2
            tensor.copy_(torch.from_numpy(numbers[start : start + tensor.numel()].reshape(tensor.shape)))
    page = browser.new_page(reduced_motion="reduce")
    page.goto(f"{server}/book/pretraining/playground.html")
    page.locator(".pg").scroll_into_view_if_needed()
    says(page, "The prompt has")
    prompt = written(page)
    page.locator("[name=temperature]").fill("0")
    page.locator("[name=n_tokens]").fill("40")
    page.get_by_role("button", name="Generate").click()
    says(page, "written")
    assert written(page) == prompt + list(generate(model, torch.tensor([prompt]), 40))
    page.close()
