"""Lanes: branches that run beside each other on a GPU while a step is recorded.

Most kernels of a branch are too small to fill a GPU, and what starts one is idle time between two. Branches wait for
each other in interactions and merges alone: with a stream for each, a recorded step fills the gaps of one with the work
of the others. From Python, launching takes longer than the kernels, and one stream does.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from piip_search.models.kernels import dispatch


class BranchStream:
    """Where a branch's kernels are queued: on a stream of its own, or with everybody else's."""

    def __init__(self, stream: torch.cuda.Stream | None = None) -> None:
        self._stream = stream

    def __call__(self) -> AbstractContextManager[object]:
        """What is launched inside is queued here."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def mark(self) -> torch.cuda.Event | None:
        """The end of what is queued so far."""
        return None if self._stream is None else self._stream.record_event()

    def wait(self, mark: torch.cuda.Event | None) -> None:
        """What is queued from here on waits for another lane's mark."""
        if self._stream is not None and mark is not None:
            self._stream.wait_event(mark)

    def read(self, tensor: Tensor) -> None:
        """Memory of a tensor, which another lane may have made, is not reused before what is queued here is done."""
        if self._stream is not None:
            tensor.record_stream(self._stream)


ONE = BranchStream()
"""The lane of all where nothing runs beside each other."""

_streams: dict[torch.device, list[torch.cuda.Stream]] = {}
"""Streams of each device that branches have had: libraries keep memory for every stream that they were called on."""


def streams_of(x: Tensor, count: int) -> list[BranchStream]:
    """Lanes for so many branches, the first of which is the caller's.

    Args:
        x: What the branches run on.
        count: Branches.
    """
    # A compiler that looked at what is recorded would compile anew while it is.
    if torch.compiler.is_compiling() or not (x.is_cuda and dispatch.records()):
        return [ONE] * count
    others = _streams.setdefault(x.device, [])
    while len(others) < count - 1:
        others.append(torch.cuda.Stream(x.device))
    return [BranchStream(stream) for stream in [torch.cuda.current_stream(x.device), *others[: count - 1]]]


def fork(lanes: Sequence[BranchStream], tensors: Sequence[Tensor]) -> None:
    """From here on the other lanes may read what the first has made so far; a recording takes them in by that.

    Args:
        lanes: The caller's, and those that start.
        tensors: What any of them reads.
    """
    mark = lanes[0].mark()
    for lane in lanes[1:]:
        lane.wait(mark)
        for tensor in tensors:
            lane.read(tensor)


def join(lanes: Sequence[BranchStream], tensors: Sequence[Tensor | None]) -> None:
    """From here on each lane may read what all of them have made so far.

    Args:
        lanes: Those that meet.
        tensors: What any of them reads that another made.
    """
    if lanes[0] is lanes[-1]:
        return
    # All marks before all waits: or the last lane would wait for what the first only starts now.
    marks = [lane.mark() for lane in lanes]
    for lane in lanes:
        for mark in marks:
            lane.wait(mark)
        for tensor in tensors:
            if tensor is not None:
                lane.read(tensor)
