"""The section `data`, as far as all tasks have it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from piip_search.sections.fields import FilePath, Section

Orientation = Literal["exif", "stored"]
"""Orientation of the annotated pixels: turned as EXIF says, or as stored."""


class DataSection(Section):
    """The data set of a task, which adds its own fields.

    Attributes:
        root: Folder of the data; relative to the working directory.
    """

    root: FilePath | None = None

    @property
    def title(self) -> str:
        """The data set in a word or a path, for a reader."""
        return str(self.root)

    @property
    def outputs(self) -> int | None:
        """Number of outputs that the data ask of a network's last layer, such as classes; None where they ask nothing.

        It is the number of class scores of the merge `logits`.
        """
        return None

    @property
    def named_paths(self) -> Mapping[str, Path]:
        """Fields with paths that are relative to the working directory, and these paths."""
        return {} if self.root is None else {"root": self.root}
