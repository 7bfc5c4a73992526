"""The interface of a task's drawing: what a page shows of a trained design's answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class TaskDrawing(Protocol):
    """Draws examples of a task: validation images with truths and answers."""

    @property
    def title(self) -> str:
        """Heading of the examples."""
        ...

    @property
    def action(self) -> str:
        """Words on the button that makes them."""
        ...

    @property
    def template(self) -> Path:
        """Template that draws `pictures`."""
        ...

    def pictures(self, content: Mapping[str, Any]) -> Any:
        """The pictures for the template, from the file that the task's worker wrote.

        Raises:
            ValueError: The content is none of this task's.
            KeyError: A part is missing.
            TypeError: A part is of another type.
        """
        ...


@dataclass(frozen=True)
class Examples:
    """The examples of a trial.

    Attributes:
        trial: Number of the trial.
        epochs: Epochs of its weights.
        pictures: What the template of the task draws.
    """

    trial: int
    epochs: int
    pictures: Any
