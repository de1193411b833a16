"""The training loop in several processes: data parallel, with whole models (DDP) or with shards of one (FSDP2).

``torchrun --nproc-per-node 2 script.py`` starts the script twice; `start` joins the two. `train`, `evaluate` and the
checkpoints need no other change: alone or together they see the same global batch and write the same files.
"""

import os

import torch
import torch.distributed as dist
import torch.nn as nn
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from lmbook._checks import check_choice
from lmbook.transformer.blocks import Block


def start() -> torch.device:
    """Join the processes that torchrun started, and return this one's device; without torchrun there is just one."""
    cuda = torch.cuda.is_available()
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    return device


def rank_and_size() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def distribute(model: nn.Module, strategy: str = "ddp") -> nn.Module:
    """The model, on its device, made ready to train in all processes that `start` has joined; alone it stays itself.

    All processes begin with the weights of the first.

    Args:
        strategy: "ddp" keeps the whole model in each process; "fsdp" keeps a share of every weight, and gathers those
            of one `Block` at a time.

    Source: Li et al. 2020 (PyTorch Distributed), sec. 3; Zhao et al. 2023 (PyTorch FSDP, its first version), sec. 3.
    Book: efficiency.
    """
    check_choice(("ddp", "fsdp"), strategy=strategy)
    if not dist.is_initialized():
        return model
    if strategy == "ddp":
        return DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for tensor in [*model.parameters(), *model.buffers()]:
        dist.broadcast(tensor.detach(), src=0)
    mesh = init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))
    for block in [module for module in model.modules() if isinstance(module, Block)]:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def bare(model: nn.Module) -> nn.Module:
    """The model without what DDP and torch.compile have put around it, so that its weights have their own names."""
    while True:
        if isinstance(model, DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model


def exchange_gradients(model: nn.Module, now: bool) -> None:
    """Whether the next backward pass averages the gradients over the processes, or only adds them up locally."""
    if isinstance(model, DistributedDataParallel):
        model.require_backward_grad_sync = now
    elif hasattr(model, "set_requires_gradient_sync"):  # FSDP2
        model.set_requires_gradient_sync(now)


def global_sum(value: int | float, device: torch.device) -> int | float:
    """The sum of a number over all processes."""
    if not dist.is_initialized():
        return value
    total = torch.tensor(value, device=device, dtype=torch.float64)
    dist.all_reduce(total)
    return total.item()


def whole(tensor: Tensor) -> Tensor:
    """A tensor gathered from its shards; all processes must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of another one, and cut into shards as that is."""
    tensor = tensor.to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements) if isinstance(like, DTensor) else tensor


def wait() -> None:
    """Go on when all processes have come here."""
    if dist.is_initialized():
        dist.barrier()
