"""Several processes that train one detector, as `torchrun` starts them: who one is, and what is said between them.

Every process takes its rows of the batch that one process alone would take, and draws what it would draw for them.
A loss is divided by the count of its own rows' samples before it is averaged, as in every DDP training; where the
counts are equal, which they are unless pictures run out of anchors or proposals, that is the loss of the whole batch.
"""

import contextlib
import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, distributed
from torch.overrides import TorchFunctionMode

from spnas.data.batches import Batch
from spnas.errors import UsageError

PATIENCE = datetime.timedelta(hours=12)  # for the first process, which judges and writes while the others wait
GONE = ("Connection closed", "reset by peer", "Broken pipe", "remote process exiting")  # gloo, NCCL


class Ranks(msgspec.Struct, frozen=True):
    """Which of how many processes this is; one alone is the first of one."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes, judges and speaks."""
        return self.rank == 0


ALONE = Ranks()


@contextlib.contextmanager
def gathered(device: str) -> Iterator[Ranks]:
    """Join the processes that `torchrun` started with this one, if it was `torchrun`, and leave them at the end.

    Raises: UsageError when there are more processes than GPUs, or another process ends before its time.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    place = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        if place >= torch.cuda.device_count():
            raise UsageError(f"torchrun started process {place}, but there are {torch.cuda.device_count()} GPUs")
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), count)
    except RuntimeError as fault:
        if any(words in str(fault) for words in GONE):
            raise UsageError("another process gave up; its own message says why") from None
        raise
    finally:
        distributed.destroy_process_group()


def tell(words: bytes | None, ranks: Ranks) -> bytes:
    """Return on every process what the first one says; None from it means that it gave up.

    Raises: UsageError on the others then.
    """
    if ranks.count == 1:
        return words or b""
    length = torch.tensor([-1 if words is None else len(words)], device=_device())
    distributed.broadcast(length, 0)
    if int(length) < 0 and ranks.first:
        return b""
    if int(length) < 0:
        raise UsageError("the first process gave up; its own message says why")
    data = torch.zeros(int(length), dtype=torch.uint8, device=_device())
    if ranks.first and words:
        data.copy_(torch.frombuffer(bytearray(words), dtype=torch.uint8))
    distributed.broadcast(data, 0)
    return bytes(data.cpu().numpy())


def mean(terms: Mapping[str, Tensor], ranks: Ranks) -> dict[str, float]:
    """Return the terms of the loss, averaged over the processes."""
    values = torch.stack([term.detach() for term in terms.values()])
    if ranks.count > 1:
        distributed.all_reduce(values)
        values /= ranks.count
    return dict(zip(terms, values.tolist(), strict=True))


def copy_from_first(tensors: Sequence[Tensor], ranks: Ranks) -> None:
    """Make tensors equal to those of the first process."""
    if ranks.count > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


def padded_alike(batch: Batch, ranks: Ranks) -> Batch:
    """Pad the rows of a batch as they are padded in the whole batch: what the networks see at a border hangs on it."""
    if ranks.count == 1:
        return batch
    shape = torch.tensor([*batch.images.shape[2:], batch.labels.shape[1]], device=_device())
    distributed.all_reduce(shape, distributed.ReduceOp.MAX)
    height, width, most = shape.tolist()
    more = most - batch.labels.shape[1]
    return batch._replace(
        images=F.pad(batch.images, (0, width - batch.images.shape[3], 0, height - batch.images.shape[2])),
        boxes=F.pad(batch.boxes, (0, 0, 0, more)),
        labels=F.pad(batch.labels, (0, more), value=-1),
        ignore=F.pad(batch.ignore, (0, more)),
    )


class Rows(TorchFunctionMode):
    """Where rows `first` to `last` of a batch of `count` are drawn for: draws for all rows, and returns those."""

    def __init__(self, rng: torch.Generator, first: int, last: int, *, count: int) -> None:
        super().__init__()
        self.rng, self.first, self.last, self.count = rng, first, last, count

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Widen `torch.rand` of our generator; let everything else be."""
        kwargs = kwargs or {}
        if func is not torch.rand or kwargs.get("generator") is not self.rng:
            return func(*args, **kwargs)
        rows, *rest = args[0]
        assert rows == self.last - self.first
        return func((self.count, *rest), **kwargs)[self.first : self.last]


def _device() -> str:
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"
