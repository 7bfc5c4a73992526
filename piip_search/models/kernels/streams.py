"""CUDA streams of branches that run beside each other on a GPU while a step is recorded.

Most kernels of a branch are too small to fill a GPU, and there is idle time between two launches. Branches wait for
each other only in interactions and merges. With a stream for each, a recorded step fills the gaps of one branch with
the work of the others. From Python, launching takes longer than the kernels, and one stream suffices.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from piip_search.models.kernels import dispatch


class BranchStream:
    """The queue of a branch's kernels: its own stream, or the caller's."""

    def __init__(self, stream: torch.cuda.Stream | None = None) -> None:
        self._stream = stream

    def __call__(self) -> AbstractContextManager[object]:
        """Queues the kernels that are launched inside."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def mark(self) -> torch.cuda.Event | None:
        """Marks the end of the queue."""
        return None if self._stream is None else self._stream.record_event()

    def wait(self, mark: torch.cuda.Event | None) -> None:
        """Makes later kernels of this queue wait for another stream's mark."""
        if self._stream is not None and mark is not None:
            self._stream.wait_event(mark)

    def read(self, tensor: Tensor) -> None:
        """Protects a tensor's memory from reuse until the kernels queued here are done; another stream may own it."""
        if self._stream is not None:
            tensor.record_stream(self._stream)


ONE = BranchStream()
"""The common stream of all branches if none run beside each other."""

_streams: dict[torch.device, list[torch.cuda.Stream]] = {}
"""The branches' streams of each device: libraries keep memory for every stream that they were called on."""


def streams_of(x: Tensor, count: int) -> list[BranchStream]:
    """Streams for so many branches; the first is the caller's.

    Args:
        x: Tensor on the branches' device.
        count: Number of branches.
    """
    # A compiler that read this flag would compile again during a recording.
    if torch.compiler.is_compiling() or not (x.is_cuda and dispatch.records()):
        return [ONE] * count
    others = _streams.setdefault(x.device, [])
    while len(others) < count - 1:
        others.append(torch.cuda.Stream(x.device))
    return [BranchStream(stream) for stream in [torch.cuda.current_stream(x.device), *others[: count - 1]]]


def fork(streams: Sequence[BranchStream], tensors: Sequence[Tensor]) -> None:
    """Lets the other streams read results of the first one up to here; this also captures them into a recorded graph.

    Args:
        streams: The caller's stream, and those that start.
        tensors: Tensors that any of them reads.
    """
    mark = streams[0].mark()
    for stream in streams[1:]:
        stream.wait(mark)
        for tensor in tensors:
            stream.read(tensor)


def join(streams: Sequence[BranchStream], tensors: Sequence[Tensor | None]) -> None:
    """Lets each stream read the results of all streams up to here.

    Args:
        streams: Streams to synchronise.
        tensors: Tensors that another stream made and any of them reads.
    """
    if streams[0] is streams[-1]:
        return
    # All marks before all waits, or the last stream would wait for work that the first only starts now.
    marks = [stream.mark() for stream in streams]
    for stream in streams:
        for mark in marks:
            stream.wait(mark)
        for tensor in tensors:
            if tensor is not None:
                stream.read(tensor)
