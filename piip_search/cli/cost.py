"""`piip-search cost`: prices one architecture."""

import re
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from piip_search.api.cost import DesignCost, TrialCost, head_named, price_design, price_trial
from piip_search.api.notices import ignore
from piip_search.architecture import Architecture
from piip_search.cli.application import note, print_json, print_result
from piip_search.cli.options import Json, Quiet, expanded_space, space_names
from piip_search.cli.terminal import tables
from piip_search.config import SearchSpec, load_spec
from piip_search.config.shipped import find_space
from piip_search.config.space import FORMER_WHOLE
from piip_search.cost import CONVENTIONS
from piip_search.errors import DesignError, UserError
from piip_search.tasks import TASKS
from piip_search.units import gibibytes, gigabytes, quantity

HEAD_NAMES = tuple(name for task in TASKS.values() for name in task.heads)
"""Heads of known cost, of all tasks."""
PUBLISHED_LISTED = 5
"""Most published designs listed beside a design."""


def _present_word(word: str | None) -> str | None:
    """A convention by its present or former word."""
    if word == FORMER_WHOLE:
        note(f"note: --convention: {word} is called whole now, and means the same; write whole")
        return "whole"
    if word is not None and word not in CONVENTIONS:
        raise typer.BadParameter(f"must be {', '.join(CONVENTIONS)}, got {word!r}")
    return word


def cost(
    architecture: Annotated[str, typer.Argument(help="Short form of an architecture.")],
    image: Annotated[
        str | None, typer.Option(help="Height x width in pixels of the input image, such as 800x1333.")
    ] = None,
    convention: Annotated[
        str | None,
        typer.Option(
            help=f"Counting convention of the parts, {', '.join(CONVENTIONS)}; all totals are shown.",
            autocompletion=lambda: list(CONVENTIONS),
            callback=_present_word,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            "--detector",
            help=f"Head under the convention whole: {', '.join(HEAD_NAMES)}; by default that of the papers.",
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Space whose trial is priced: memory and GPU share of the design's training.",
            autocompletion=space_names,
            callback=expanded_space,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the exact cost of an architecture, without building it.

    With --quiet, only its GMACs. With --space, also the memory of a trial, and its share of a GPU.

    Example: piip-search cost 'vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12'
    """
    design = Architecture.parse(architecture)
    found = price_design(design, None if image is None else _image(image), head_named(head) if head else None)
    chosen = next((name for name in found.costs if name == convention), list(found.costs)[-1])
    if convention not in (None, chosen):
        raise DesignError(f"no head reads what the merge {design.merge} gives; leave --convention out")
    spec = None if space is None else load_spec(find_space(space), ignore if quiet else note)
    trial = None if spec is None else price_trial(design, spec)
    if as_json:
        print_json(found.to_dict() if trial is None else {**found.to_dict(), "trial": asdict(trial)})
    elif quiet:
        print_result(f"{found.costs[chosen].gmacs:.6g}")
    else:
        _print_totals(found)
        if spec is not None and trial is not None:
            print_result(_trial(trial, spec))
        print_result(f"\nparts under the {chosen} convention:")
        print_result(tables.parts_table(found.parts(chosen)))
        _compare(found)


def _print_totals(found: DesignCost) -> None:
    """Prints the design, and its totals under every convention."""
    design, image, sides = found.design, found.image, found.sides
    print_result(str(design), f"one image of {image[0]}x{image[1]} px, fingerprint {design.fingerprint}")
    if sides is not None and image != sides:
        print_result(f"padded from {sides[0]}x{sides[1]}: grids are exact at multiples of {design.multiple} px")
    print_result(Text(), tables.totals_table(found.costs, found.memories))
    print_result("memory in float32 at one image a step, training with AdamW; about half of it in bfloat16")


def _image(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,18})x(\d{1,18})", text)  # Python reads up to 4300 digits
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(sides) < 1:
        raise UserError(f"an image must be height x width in pixels, such as 800x1333, got {text!r}")
    return sides


def _trial(trial: TrialCost, spec: SearchSpec) -> str:
    """One line about the GPU memory and share of a design's trial in a search."""
    resources, training = spec.resources, spec.training
    recomputed = ", checkpointing" if training.checkpointing else ""
    text = (
        f"a trial of {trial.space}: {gigabytes(trial.training_bytes)} at {training.batch_size} images a "
        f"step, {training.precision}{recomputed}; with its margin {gibibytes(trial.needed_bytes)}"
    )
    if resources.gpu_memory is None:
        return text
    whole = quantity(resources.gpu_memory, "GiB")
    return f"{text}: {trial.gpu:g} of a GPU of {whole}" if trial.fits else f"{text}, too much for {whole}"


def _compare(found: DesignCost) -> None:
    """Prints the published rows of this design, and the authors' designs of the same cost."""
    gmacs = found.published_gmacs
    for row in found.published:
        print_result(f"published as {row.summary}: here {gmacs / row.gmacs - 1:+.2%}")
    if found.near:
        print_result(f"\nthe authors' designs within 10 % of its published {quantity(gmacs, 'GMACs', 4)}:")
    for row in found.near[:PUBLISHED_LISTED]:
        print_result(f"  {row.summary}", f"    {row.architecture}")
