"""The processes that train one network together: each takes a share of every batch, all end with the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from oversight.models.finetune.encoded import Encoded
from oversight.tasks.task import Floats

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from oversight.models.finetune.classifier import Classifier


class MemoryRanOut(Exception):
    """In one of several processes; they can go on from the last checkpoint with fewer tokens at once."""

    def __init__(self, what: str, tokens_at_once: int) -> None:
        super().__init__(what)
        self.tokens_at_once = tokens_at_once


@dataclass(frozen=True)
class Pass:
    """One pass of one process.

    Attributes:
        rows: which go through the network.
        counts: False for a pass that only keeps step with the other processes.
    """

    rows: list[int]
    counts: bool = True


@dataclass(frozen=True, kw_only=True)
class Team:
    """The processes of one fit, seen from one of them. A team of one does nothing that a process alone would not.

    All but `cut` and `passes` are meetings: every process must come to each of them, in the same order.

    Attributes:
        rank: which of the processes this is; the first, 0, writes and speaks.
        size: how many there are.
        sharded: whether weights, gradients and optimiser state of the network are spread over them.
        device: of this process.
    """

    rank: int = 0
    size: int = 1
    sharded: bool = False
    device: str = "cpu"

    def passes(self, encoded: Encoded, rows: Sequence[int], *, budget: int) -> list[Pass]:
        """This process's share of some rows: equally many passes for everyone, of rows of all lengths.

        Args:
            encoded: token ids of all rows.
            rows: those to share out, at least one.
            budget: most tokens in one pass of one process.
        """
        in_order = sorted(range(len(rows)), key=lambda i: (len(encoded.texts[rows[i]]), i))
        shares = [[rows[i] for i in sorted(in_order[rank :: self.size])] for rank in range(self.size)]
        cut = [encoded.batches(share, budget=budget) if share else [] for share in shares]
        own = [Pass(part) for part in cut[self.rank]]
        idle = Pass(list(rows[:1]), counts=False)
        return own + [idle] * (max(map(len, cut)) - len(own))

    def total(self, share: Tensor) -> Tensor:
        """Sum over the processes, the same bits in each."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(share)
        return share

    def total_array(self, share: Floats) -> Floats:
        """The same of an array."""
        if self.size == 1:
            return share
        import torch

        return np.asarray(self.total(torch.from_numpy(share).to(self.device)).cpu().numpy(), np.float64)

    def agree(self, flag: bool) -> bool:
        """What the first process says."""
        if self.size == 1:
            return flag
        import torch

        return bool(self.total(torch.tensor(int(flag and self.rank == 0), device=self.device)))

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum the gradients of all processes; those of spread weights were summed as they were made."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        own = [one for one in parameters if not _is_spread(one)]
        reached = self.total(torch.tensor([float(one.grad is not None) for one in own], device=self.device))
        sums: list[Any] = []
        for one, found in zip(own, reached.tolist(), strict=True):
            if found:
                one.grad = torch.zeros_like(one) if one.grad is None else one.grad
                sums.append(dist.all_reduce(one.grad, async_op=True))
        for one in sums:
            one.wait()

    def clip(self, parameters: Sequence[torch.nn.Parameter], largest: float) -> float:
        """Scale the gradient down to this norm if it is larger; gives the norm before."""
        import torch

        if not self.sharded:
            return float(torch.nn.utils.clip_grad_norm_(parameters, largest))
        spread = [one.grad.to_local() for one in parameters if one.grad is not None and _is_spread(one)]  # pyright: ignore[reportAttributeAccessIssue]
        whole = [one.grad for one in parameters if one.grad is not None and not _is_spread(one)]
        square = self.total(_square(spread, self.device)) + _square(whole, self.device)
        norm = float(square.sqrt())
        scale = min(1.0, largest / (norm + 1e-6))
        if scale < 1:
            for one in (*spread, *whole):
                one.mul_(scale)
        return norm

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Spread tensors put together, in the first process; the others get nothing."""
        found: dict[str, Tensor] = {}
        for name, one in tensors.items():
            full = one.detach().full_tensor().cpu() if _is_spread(one) else one.detach()  # pyright: ignore[reportAttributeAccessIssue]
            if self.rank == 0:
                found[name] = full
        return found

    def whole_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The optimiser's `state_dict()` with its tensors put together, in the first process."""
        found = optimizer.state_dict()
        if not self.sharded:
            return found
        state: dict[int, dict[str, Any]] = {}
        for i, entries in found["state"].items():
            tensors = {name: one for name, one in entries.items() if hasattr(one, "detach")}
            state[i] = {name: one for name, one in entries.items() if name not in tensors} | self.whole(tensors)
        return {"state": state, "param_groups": found["param_groups"]}

    def cut(self, whole: Tensor, *, like: Tensor) -> Tensor:
        """This process's part of a whole tensor, spread as `like` is; all of it if that is not."""
        if not _is_spread(like) or whole.shape != like.shape:
            return whole
        from torch.distributed.tensor import distribute_tensor

        placed: Any = like
        return distribute_tensor(
            whole.to(self.device), placed.device_mesh, placed.placements, src_data_rank=None
        )  # None: everyone has the whole, nothing need be sent

    def cut_state(self, state: dict[str, Any], *, of: torch.optim.Optimizer) -> dict[str, Any]:
        """An optimiser's whole `state_dict()` as this process's own can load it."""
        if not self.sharded:
            return state
        parameters = [one for group in of.param_groups for one in group["params"]]
        cut = {
            i: {
                name: self.cut(one, like=parameters[i]) if hasattr(one, "shape") else one
                for name, one in entries.items()
            }
            for i, entries in state["state"].items()
        }
        return {"state": cut, "param_groups": state["param_groups"]}

    def wait(self) -> None:
        """Until everyone is here."""
        self.agree(True)

    def take(self, classifier: Classifier) -> None:
        """Let this team work on a classifier, whose network is spread over it if it is `sharded`.

        Each block is put together when it is needed, forward and backward, and freed again. The outermost unit holds
        what no block does; it ends in the states that are read, since its backward pass begins there.
        """
        classifier.team = self
        if not self.sharded:
            return
        import torch
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        class Reader(torch.nn.Module):
            """The network up to the states that are read."""

            def __init__(self, body: torch.nn.Module) -> None:
                super().__init__()
                self.body = body

            def forward(self, **inputs: Tensor) -> Tensor:
                return classifier.network.state(**inputs)

        mesh = init_device_mesh(self.device.split(":")[0], (self.size,))
        for block in classifier.network.blocks:
            fully_shard(block, mesh=mesh)
        reader = Reader(classifier.network.model)
        fully_shard(reader, mesh=mesh, reshard_after_forward=True)
        for unit in reader.modules():
            if isinstance(unit, FSDPModule):
                # Each process's gradient is its rows' part of the whole: they are summed, where the default averages.
                unit.set_gradient_divide_factor(1.0)
                unit.set_force_sum_reduction_for_comms(True)
        classifier.read = reader


ALONE = Team()


def _is_spread(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def _square(tensors: Sequence[Tensor], device: str) -> Tensor:
    """Sum of the squares of all entries."""
    import torch

    return sum((one.square().sum() for one in tensors), torch.zeros((), device=device))
