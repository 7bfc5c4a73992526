"""The actions that pages can start, use cases that the serving program provides."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from piip_dashboards.web.jobs import Say


@dataclass(frozen=True)
class PageActions:
    """Functions that a page starts in a process of their own.

    Each can be imported in another process, or is a `functools.partial` of such a function. The last argument receives
    lines of output.

    Attributes:
        export: Exports a design. Takes a run, a fingerprint, the folder to write, and the name of the visitor's token.
        submit: Sends the driver of a run to a cluster. Takes the file of its space, the run, the cluster's address, and
            the name of the visitor's token.
        stop: Stops the driver of a run on a cluster. Takes the run, the cluster's address, and the name of the
            visitor's token.
        examples: Runs a network on validation images. Takes the task and the folder of a training.
    """

    export: Callable[[str, str, Path, str, Say], None]
    submit: Callable[[Path, str, str, str, Say], None]
    stop: Callable[[str, str, str, Say], None]
    examples: Callable[[str, Path, Say], None]
