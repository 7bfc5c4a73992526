"""`piip-search plan`: plans a search."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from piip_search.api.notices import ignore
from piip_search.api.plan import check_picture, draw_spread, plan_search
from piip_search.cli.application import console, note, print_json, print_result
from piip_search.cli.options import Json, Quiet, SpaceName, Trials
from piip_search.cli.terminal import tables
from piip_search.config import load_spec
from piip_search.config.shipped import find_space
from piip_search.errors import UserError


def plan(
    space: SpaceName,
    trials: Trials = None,
    throughput: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="10^12 multiply-accumulates a second that a trial's device sustains in training: by default 20 with a "
            "GPU (a tenth of an A100's bfloat16 peak), 0.03 without one (measured on one core).",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="Training and validation images, such as 118287,5000, if the data is not on this machine."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the spread of costs into this file (png, svg, pdf).")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan a search: its designs, their costs, and the effort of measuring them.

    With --quiet, one line a tier: its cost, and the number of designs within it.

    Example: piip-search plan coco --images 118287,5000 --plot coco.png
    """
    path = find_space(space)
    spec = load_spec(path, ignore if quiet else note)
    if plot is not None:
        check_picture(plot)
    drawn = plan_search(spec, path, trials, _image_counts(images), throughput)
    if as_json:
        print_json(drawn.to_dict())
    elif quiet:
        print_result(*(f"{tier.cost:g} {tier.designs}" for tier in drawn.tiers))
    else:
        print_result(f"{spec.name}: cost under the {spec.limit.convention} convention")
        print_result(Text(), tables.plan_view(drawn, console.width))
    if plot is not None:
        draw_spread(drawn, plot)
        if not quiet:
            note(f"wrote {plot}")


def _image_counts(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,18}),(\d{1,18})", text)  # Python reads up to 4300 digits
    if match is None or min(int(match[1]), int(match[2])) < 1:
        raise UserError(f"images must be two counts, of training and of validation, such as 118287,5000, got {text!r}")
    return int(match[1]), int(match[2])
