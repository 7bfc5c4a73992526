"""Sections `budget`, `fidelity` and `schedule`: the expense of a search and of each design."""

import re
from typing import Annotated, NamedTuple, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from piip_search.evaluation import evaluation
from piip_search.sections.fields import MOST_CHOICES, Count, Positive, Section, Share


class Goal(NamedTuple):
    """A metric to reach by a design of at most such a cost on the tiers' axis; None for any cost."""

    metric: float
    cost: float | None = None
    unit: str = ""


_TARGET = re.compile(
    r"best\s*(?:<=\s*(?P<cost>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-zµ]*))?\s*>=\s*(?P<metric>\d*\.?\d+)", re.IGNORECASE
)


def _goal(value: object) -> object:
    if isinstance(value, Goal):
        return value
    found = _TARGET.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"target must be like best >= 0.3, or best <= 500 G >= 0.3 for a tier, got {value!r}")
    return Goal(float(found["metric"]), None if found["cost"] is None else float(found["cost"]), found["unit"] or "")


def _write_goal(goal: Goal) -> str:
    within = "" if goal.cost is None else f" <= {goal.cost!r} {goal.unit}".rstrip()
    return f"best{within} >= {goal.metric!r}"


Target = Annotated[Goal, BeforeValidator(_goal), PlainSerializer(_write_goal)]


class Budget(Section):
    """The budget of a search.

    Attributes:
        trials: Designs to measure, failures included.
        hours: Wall-clock hours of one sitting after which no trial starts; None for no end.
        gpu_hours: Hours of GPUs, summed over all evaluations of the run, after which no trial starts.
        target: A metric that ends the search once it is reached, such as `best >= 0.3` or, for a design within a tier,
            `best <= 500 G >= 0.3`.
        least_gain: Smallest expected gain: no new designs start once measuring all others is expected to raise the best
            metric of every tier by less.
    """

    trials: Count = 50
    hours: Positive | None = None
    gpu_hours: Positive | None = None
    target: Target | None = None
    least_gain: Positive | None = None


class FidelitySection(Section):
    """The effort of one evaluation; the fields are those of `piip_search.evaluation.evaluation.Fidelity`."""

    epochs: Annotated[int, Field(ge=0, le=10**6)] = 12
    data_fraction: Share = 1.0
    image_scale: Share = 1.0
    horizon: Annotated[int, Field(ge=1)] | None = None
    seeds: Count = 1

    @model_validator(mode="after")
    def _ends_within_the_schedule(self) -> Self:
        if self.horizon is not None and self.horizon < self.epochs:
            raise ValueError(
                f"horizon is the epochs that the schedule spans, at least epochs ({self.epochs}), got {self.horizon}"
            )
        return self

    def build(self) -> evaluation.Fidelity:
        """The fidelity as a plain value."""
        return evaluation.Fidelity(self.epochs, self.data_fraction, self.image_scale, self.horizon, self.seeds)


class Schedule(Section):
    """Successive halving over the epochs of `fidelity`: selects the designs that are trained to the end.

    Attributes:
        rungs: Epochs after which a design is measured and pauses, rising; promoted designs are trained from there. All
            rungs are part of one learning-rate schedule.
        keep: One in so many is promoted from a rung.
        brackets: Number of rungs at which designs start: some begin with a longer training, in case the first rungs
            rank badly.
    """

    rungs: Annotated[tuple[Count, ...], Field(min_length=1, max_length=MOST_CHOICES, strict=False)]
    keep: Annotated[int, Field(ge=2)] = 3
    brackets: Count = 1

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs must rise, each once, got {list(self.rungs)}")
        if self.brackets > len(self.rungs) + 1:
            raise ValueError(
                f"brackets start at the {len(self.rungs)} rungs or at the whole training, so there are at most "
                f"{len(self.rungs) + 1}, got {self.brackets}"
            )
        return self
