"""The parts of every section of a search space file: types of values, and the base class."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Pattern of a run's name, which is also the name of a folder."""
MOST_CHOICES = 100
"""Most choices of one kind: a design is a row of small numbers."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]
FilePath = Annotated[Path, Field(strict=False)]


class Section(BaseModel):
    """A section of the file; it refuses unknown keys and converts no types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
