"""What README.md says is so: its example prints what it says, its links lead somewhere, its list is the book's."""

import contextlib
import io
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_it_says():
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "README.md", "exec"), {})
    (said,) = re.findall(r'# prints "(.*)"$', example, re.M)
    assert printed.getvalue() == f"{said}\n"


def test_every_link_leads_to_a_file():
    for name in ("README.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / name).read_text(encoding="utf-8"))
        assert links or name != "README.md"
        assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_list_of_chapters_is_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = re.findall(r"'(?:root|file)': '([^']+)'", str(toc))
    assert re.findall(r"\]\((book/[^)]+)\.(?:ipynb|md)\)", README) == pages
