"""From a Wikipedia dump to plain paragraphs: the simple way, with regular expressions."""

import html
import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree

_COMMENT_OR_REFERENCE = re.compile(r"<!--.*?-->|<ref[^>]*/>|<ref.*?</ref>", re.DOTALL)
_BLOCK = re.compile(
    r"<(math|gallery|timeline|source|code|pre|imagemap|score|table)\b.*?</\1>", re.DOTALL | re.IGNORECASE
)
_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}|\{\|(?:(?!\{\|).)*?\|\}", re.DOTALL)  # the innermost {{...}} and {|...|}
_FILE_LINK = re.compile(r"\[\[(?:File|Image|Category|[a-z-]{2,12}):[^\[\]]*\]\]", re.IGNORECASE)
_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]]*)\]\]")
_WEB_LINK = re.compile(r"\[(?:https?:)?//\S+ ?([^\]]*)\]")
_TAG = re.compile(r"<[^<>]+>")
_QUOTES = re.compile(r"'{2,}")
_EMPTIED = re.compile(r"\s*\([\s,;]*\)|\s+(?=[,;.)])|(?<=\()[\s,;]+")  # what is left where a template stood
_NOT_PROSE = ("=", "*", "#", ":", ";", "|", "!", "{", "}", "[", "__")


def plain_paragraphs(markup: str, *, min_chars: int = 80) -> list[str]:
    """The paragraphs of an article without markup; headings, lists, tables and lines below min_chars are dropped."""
    text = _BLOCK.sub("", _COMMENT_OR_REFERENCE.sub("", markup))
    for pattern in (_TEMPLATE, _FILE_LINK):
        replaced = 1
        while replaced:  # they are nested: take away the innermost until none is left
            text, replaced = pattern.subn("", text)
            if pattern is _FILE_LINK and replaced == 0 and "[[" in text:
                text, replaced = _LINK.subn(r"\1", text)  # a caption may hold links: resolve those, then look again
    text = _QUOTES.sub("", _TAG.sub("", _WEB_LINK.sub(r"\1", text)))
    lines = (_EMPTIED.sub("", re.sub(r"\s+", " ", html.unescape(line))).strip() for line in text.split("\n"))
    return [line for line in lines if len(line) >= min_chars and not line.startswith(_NOT_PROSE)]


def articles(dump: bytes) -> Iterator[tuple[str, str]]:
    """Title and markup of each article of a dump in MediaWiki's XML; redirects and other pages are skipped."""
    for _, page in ElementTree.iterparse(io.BytesIO(dump)):
        if not page.tag.endswith("}page"):
            continue
        space = page.tag[: -len("page")]
        if page.findtext(f"{space}ns") == "0" and page.find(f"{space}redirect") is None:
            yield page.findtext(f"{space}title"), page.findtext(f"{space}revision/{space}text") or ""
        page.clear()
