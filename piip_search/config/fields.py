"""What every section of a search space file is made of: kinds of values, and the base of sections."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""A run's name is also that of a folder."""
MOST_CHOICES = 100
"""Most choices of one kind: a design is a row of small numbers."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]
FilePath = Annotated[Path, Field(strict=False)]


class Section(BaseModel):
    """A part of the file: nothing in it but what is known, and nothing turned into another kind of value."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
