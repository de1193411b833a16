"""For every test: one torch thread, shapes checked on demand, and how nbval compares the numbers of notebooks."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "scripts"))

import comparing  # noqa: E402

pytest_plugins = ["pytester"]

if os.environ.get("LMBOOK_TYPECHECK") == "1":
    from jaxtyping import install_import_hook

    install_import_hook("lmbook", "beartype.beartype")  # before lmbook is imported for the first time


def pytest_configure(config):
    import torch

    config.addinivalue_line("markers", "slow: takes a minute or more; leave out with -m 'not slow'")
    torch.set_num_threads(1)


def pytest_collectstart(collector):
    """nbval compares everything that a cell prints; progress bars go to stderr and differ from run to run."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)


def pytest_itemcollected(item):
    """A cell of a notebook may declare a tolerance for its numbers; nbval then compares the text alone."""
    if type(item).__name__ == "IPyNbCell":
        exactly = item.compare_outputs

        def compare_outputs(got, want, skip_compare=None):
            greatest = comparing.adopt(got, want, item.cell.source)
            if greatest is not None:
                item.user_properties.append(("greatest difference", greatest))
            return exactly(got, want, skip_compare)

        item.compare_outputs = compare_outputs
        item.user_properties.append(("cell", comparing.cell_id(item.cell.source)))
