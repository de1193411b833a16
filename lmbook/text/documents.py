"""From the files of each corpus to its documents."""

import bz2
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmbook.text.wikitext import articles, plain_paragraphs


@dataclass(frozen=True)
class Document:
    """One text, with the title (headline, article, film, play) and the label that its source gives it, if any."""

    text: str
    title: str | None = None
    label: str | None = None


def parse_wikipedia(files: dict[str, bytes]) -> Iterator[Document]:
    for title, markup in articles(bz2.decompress(*files.values())):
        if paragraphs := plain_paragraphs(markup):
            yield Document("\n\n".join(paragraphs), title)


def parse_news(files: dict[str, bytes]) -> Iterator[Document]:
    for line in _text(*files.values()).split("\n"):
        yield Document(line.strip())


def parse_bbc(files: dict[str, bytes]) -> Iterator[Document]:
    for file, content in files.items():  # data/business/001.txt: the headline, an empty line, the article
        headline, _, article = _text(content).strip().partition("\n")
        yield Document(article.strip(), headline.strip(), file.split("/")[-2])


def parse_reviews(files: dict[str, bytes]) -> Iterator[Document]:
    labels = {"fresh": "positive", "rotten": "negative"}
    for row in csv.DictReader(io.StringIO(_text(bz2.decompress(*files.values())), newline="")):
        if row["category"] in labels:  # the other rows are summaries of plots
            yield Document(row["text"].strip(), row["movie_name"], labels[row["category"]])


def parse_chinese_reviews(files: dict[str, bytes]) -> Iterator[Document]:
    labels = {"neg": "negative", "pos": "positive"}
    reviews = {file: [line.strip() for line in _text(content).split("\n")] for file, content in files.items()}
    both = set.intersection(*map(set, reviews.values()))  # 47 texts stand in both files: nobody knows which is right
    for file, lines in reviews.items():
        for line in lines:
            if line not in both:
                yield Document(line, label=labels[Path(file).stem])


def parse_shakespeare(files: dict[str, bytes]) -> Iterator[Document]:
    for file, content in files.items():
        title = Path(file).stem.removesuffix("_gut").replace("_", " ")
        yield Document(_text(content).strip(), title)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:  # one article of the BBC has a pound sign in Windows' own encoding
        return content.decode("cp1252")
