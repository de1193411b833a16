"""Put into each kernel of a measured run: how far every assert is from failing, and a run as another processor rounds.

`scripts/portable.py` copies this file into the start-up folder of an IPython profile. It reads two variables:
LMBOOK_SLACK names the file that gets a line of JSON for each ordering comparison in an assert, [cell, comparison,
slack], where slack is the right side minus the left of a `<` or `<=`; LMBOOK_ROUNDING is a seed: the weights are
changed by two parts in ten million at the first step of each optimizer, which is what another order of additions does.
"""

import ast
import hashlib
import json
import operator
import os
import re

ORDER = {"Lt": operator.lt, "LtE": operator.le, "Gt": operator.gt, "GtE": operator.ge}


class Asserts(ast.NodeTransformer):
    """Wrap both sides of the ordering comparisons that an assert needs to be true."""

    @classmethod
    def compares(cls, source):
        """Whether a cell has an ordering comparison in an assert."""
        tree = ast.parse(re.sub(r"^(\s*)[!%].*$", r"\1pass", source, flags=re.M))
        return "__lmbook_slack__" in ast.unparse(cls().visit(tree))

    def visit_Assert(self, node):
        node.test = self.wrap(node.test)
        return node

    def wrap(self, node):
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            node.values = [self.wrap(value) for value in node.values]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "all" and node.args:
            if isinstance(node.args[0], ast.GeneratorExp | ast.ListComp):
                node.args[0].elt = self.wrap(node.args[0].elt)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "all":
            node.func.value = self.wrap(node.func.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "bool" and node.args:
            node.args[0] = self.wrap(node.args[0])
        elif isinstance(node, ast.Compare) and all(type(op).__name__ in ORDER for op in node.ops):
            sides = ast.List([node.left, *node.comparators], ast.Load())
            about = [ast.Constant(ast.unparse(node)), ast.Constant(tuple(type(op).__name__ for op in node.ops))]
            return ast.Call(ast.Name("__lmbook_slack__", ast.Load()), [*about, sides], [])
        return node

    def visit_Module(self, node):
        return ast.fix_missing_locations(self.generic_visit(node))


class Recorder:
    """Writes the least slack of each comparison at the end of each cell."""

    def __init__(self, path):
        self.path, self.cell, self.least = path, "", {}

    def begin(self, info):
        self.cell = hashlib.sha256(f"code\n{info.raw_cell}".encode()).hexdigest()[:12]
        self.least = {}

    def slack(self, text, signs, sides):
        """Whether the comparison holds; its least slack is kept where the sides are numbers."""
        held, found = True, []
        for sign, left, right in zip(signs, sides, sides[1:], strict=False):
            held = ORDER[sign](left, right) if held is True else held & ORDER[sign](left, right)
            try:
                slack = right - left if sign.startswith("L") else left - right
                found.append(float(slack.min() if getattr(slack, "ndim", 0) else slack))
            except (TypeError, ValueError):  # not numbers: versions, words
                pass
        if found:
            self.least[text] = min(found + [self.least[text]] if text in self.least else found)
        return held

    def end(self, result):
        with open(self.path, "a", encoding="utf-8") as file:
            for text, slack in self.least.items():
                file.write(json.dumps([self.cell, text, slack]) + "\n")
        self.least = {}


def round_otherwise(seed):
    """Jitter the weights of each optimizer once, before its first step."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    generator = torch.Generator().manual_seed(seed)

    def jitter(optimizer, args, kwargs):
        if not getattr(optimizer, "lmbook_jittered", False):
            optimizer.lmbook_jittered = True
            with torch.no_grad():
                for group in optimizer.param_groups:
                    for weight in group["params"]:
                        weight.mul_(1 + 2e-7 * torch.randn(weight.shape, generator=generator).to(weight))

    register_optimizer_step_pre_hook(jitter)


if "get_ipython" in globals() and os.environ.get("LMBOOK_SLACK"):
    _shell, _recorder = get_ipython(), Recorder(os.environ["LMBOOK_SLACK"])  # noqa: F821
    _shell.user_global_ns["__lmbook_slack__"] = _recorder.slack
    _shell.ast_transformers.append(Asserts())
    _shell.events.register("pre_run_cell", _recorder.begin)
    _shell.events.register("post_run_cell", _recorder.end)
    if os.environ.get("LMBOOK_ROUNDING"):
        round_otherwise(int(os.environ["LMBOOK_ROUNDING"]))
