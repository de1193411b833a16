"""What the playground computes in a browser is what the package computes: logits, attention, tokens, probabilities."""

import random
import unicodedata

import numpy as np
import pytest
import torch

from lmbook.generation.sampling import distribution
from lmbook.transformer.multihead import record_attention

from .conftest import SCRIPT, TEXTS, loud

CONFIGS = {
    "tied": dict(d_model=32, n_layers=2, n_heads=4),
    "grouped, untied": dict(d_model=48, n_layers=3, n_heads=6, n_kv_heads=2, tie_embeddings=False, rope_base=500.0),
    "one key-value head": dict(d_model=24, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=40, norm_eps=1e-3),
}
IDS = torch.randint(300, (37,), generator=torch.Generator().manual_seed(1))
READ = """async ({ ids, chunks }) => {
  const { load } = await import("/load.js"), { KVCache } = await import("/model.js");
  const { model } = await load(new URL("/model/", location.href)), cache = new KVCache(model.config.n_layers);
  model.forward([...ids].reverse(), cache);
  cache.crop(0);
  const cached = chunks.flatMap(([from, to]) => model.forward(ids.slice(from, to), cache));
  cache.crop(ids.length - 1);
  const { logits, weights } = model.read(ids.at(-1), cache);
  return { whole: model.forward(ids), cached, again: logits, weights }; }"""


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_attention_are_those_of_pytorch(name, site, tokenizer):
    model = loud(tokenizer, **CONFIGS[name])
    SCRIPT.export(model, tokenizer, site.model)
    found = site.open().evaluate(READ, {"ids": IDS.tolist(), "chunks": [[0, 1], [1, 9], [9, 10], [10, 37]]})
    with torch.no_grad(), record_attention(model) as weights:
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
        exact = model(IDS[None])[0]
    assert exact.std() > 1
    for key in ("whole", "cached"):
        torch.testing.assert_close(torch.tensor(found[key]), exact, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.tensor(found["again"]), exact[-1], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        torch.tensor(found["weights"]), torch.stack([layer[0, :, -1] for layer in weights]), atol=1e-5, rtol=0
    )
    assert site.trouble == []


def test_float16_changes_the_logits_little(site, tokenizer):
    model = loud(tokenizer, std=0.1, d_model=128, n_layers=3)
    SCRIPT.export(model, tokenizer, site.model)
    found = site.open().evaluate(READ, {"ids": IDS.tolist(), "chunks": [[0, 37]]})
    with torch.no_grad():
        exact = model(IDS[None])[0]
    assert exact.std() > 1
    torch.testing.assert_close(torch.tensor(found["whole"]), exact, atol=1e-2, rtol=0)


def test_tokens_are_those_of_python(site, tokenizer):
    SCRIPT.export(loud(tokenizer), tokenizer, site.model)
    rng = random.Random(0)
    known = [c for c in map(chr, range(0x20000)) if unicodedata.category(c) not in ("Cn", "Cs")]
    special = list(" \t\n\r\v\f\x1c\x85\xa0\u2028\u3000\ufeff'sdltrevm🙂é12a") + ["'ll", "  ", "ROMEO", "<|endoftext|>"]
    texts = ["", *TEXTS]
    texts += ["".join(rng.choices(rng.choice([known, special]), k=rng.randrange(1, 9))) for _ in range(3000)]
    texts += ["".join(rng.choices(special, k=30)) for _ in range(300)]
    ids, back = site.open().evaluate(
        """async (texts) => {
          const { tokenizer } = await (await import("/load.js")).load(new URL("/model/", location.href));
          const ids = texts.map((text) => tokenizer.encode(text));
          return [ids, ids.map((some) => tokenizer.decode(some))]; }""",
        texts,
    )
    assert ids == [tokenizer.encode(text) for text in texts]
    assert back == texts


def test_the_filtered_distribution_is_that_of_the_package(site):
    rows = torch.randn(12, 47, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    rows[0] = 0  # all tie, and no p below falls between two of them by a rounding
    rows[1] = rows[1].round()  # some tie
    options = [dict(temperature=t, top_k=k, top_p=p) for t in (0.0, 0.01, 0.7, 1.0, 2.0) for k in (None, 1, 7, 99)
               for p in (1, 0.9, 0.35, 0.05)]  # fmt: skip
    found = site.open().evaluate(
        """async ({ rows, options }) => {
          const { distribution } = await import("/sampling.js");
          return options.map((some) => rows.map((row) => Array.from(distribution(row, some)))); }""",
        {"rows": rows.tolist(), "options": options},
    )
    expected = torch.stack(
        [distribution(rows, **(some | {"temperature": float(some["temperature"])})) for some in options]
    )
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, atol=1e-9, rtol=1e-9)


def test_draws_have_the_probabilities_they_claim(site):
    p = [0.5, 0.0, 0.3, 0.15, 0.05]
    counts, ends = site.open().evaluate(
        """async (p) => {
          const { draw, random } = await import("/sampling.js"), counts = p.map(() => 0);
          for (let seed = 0; seed < 400; seed++) for (let i = 0; i < 100; i++) counts[draw(p, random(seed, i))]++;
          return [counts, [draw(p, 0), draw(p, 0.5), draw(p, 1)]]; }""",
        p,
    )
    share = np.array(p)
    assert (np.abs(np.array(counts) - 40000 * share) <= 4 * np.sqrt(40000 * share * (1 - share))).all()
    assert ends == [0, 2, 4]
