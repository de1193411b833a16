"""For every test: one torch thread, shapes checked on demand, notebooks compared without their progress bars."""

import os

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
