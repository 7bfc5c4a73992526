"""`piip-search cost`: what one architecture costs."""

import re
from typing import Annotated, Any

import typer
from rich.text import Text

from piip_search.architecture import Architecture
from piip_search.architecture.published import published_as, published_near
from piip_search.cli.application import put, put_json
from piip_search.cli.options import Json, Quiet, expanded_space, space_names
from piip_search.cli.terminal import tables
from piip_search.config import SearchSpec, load_spec
from piip_search.config.shipped import find_space
from piip_search.cost import (
    Convention,
    Cost,
    DetectorCost,
    DetectorName,
    Memory,
    breakdown,
    conventions_of,
    memory,
    price,
    training_bytes,
)
from piip_search.cost.gpu_share import GIB, process_bytes
from piip_search.errors import UserError

PUBLISHED_LISTED = 5
"""Published designs listed beside one."""


def cost(
    architecture: Annotated[str, typer.Argument(help="Short form of an architecture.")],
    image: Annotated[
        str | None, typer.Option(help="Height x width in pixels of the image given to the network, such as 800x1333.")
    ] = None,
    convention: Annotated[
        Convention | None, typer.Option(help="How the parts are counted; all totals are shown.")
    ] = None,
    detector: Annotated[
        DetectorName, typer.Option(help="What reads the maps under the detector convention.")
    ] = "mask_rcnn",
    space: Annotated[
        str | None,
        typer.Option(
            help="Space whose trial is asked for: what training the design takes of a GPU.",
            autocompletion=space_names,
            callback=expanded_space,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what an architecture costs, exactly, without building it.

    With --quiet, its GMACs alone. With --space, also the memory of a trial, and its share of a GPU.

    Example: piip-search cost 'vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12'
    """
    design = Architecture.parse(architecture)
    sides = None if image is None else _image(image)
    reader = DetectorCost(detector)
    known = conventions_of(design)
    if convention is not None and convention not in known:
        raise UserError(f"the merge {design.merge} gives no maps that a detector could read; leave --convention out")
    costs = {name: price(design, name, sides, reader) for name in known}
    memories = {name: memory(design, name, sides, reader) for name in known}
    spec = None if space is None else load_spec(find_space(space))
    if spec is not None and "detector" not in known:
        raise UserError(
            f"a trial of {spec.name} trains a detector, which the merge {design.merge} gives no maps for; "
            "leave --space out"
        )
    if as_json:
        content = _cost_content(design, sides, reader, costs, memories)
        put_json(content if spec is None else {**content, "trial": _trial_content(design, spec)})
        return
    chosen = convention or known[-1]
    if quiet:
        put(f"{costs[chosen].gmacs:.6g}")
        return
    padded = (design.resolution,) * 2 if sides is None else design.image(*sides)
    put(str(design), f"one image of {padded[0]}x{padded[1]} px, fingerprint {design.fingerprint}")
    if sides is not None and padded != sides:
        put(f"padded from {sides[0]}x{sides[1]}: grids are exact at multiples of {design.multiple} px")
    put(Text(), tables.totals_table(costs, memories))
    put("memory in float32 at one image a step, training with AdamW; about half of it in bfloat16")
    if spec is not None:
        put(_trial(design, spec))
    put(f"\nparts under the {chosen} convention:")
    put(tables.parts_table(breakdown(design, chosen, sides, reader)))
    _compare(design)


def _image(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(sides) < 1:
        raise UserError(f"an image is height x width in pixels, such as 800x1333, got {text!r}")
    return sides


def _cost_content(
    design: Architecture,
    sides: tuple[int, int] | None,
    reader: DetectorCost,
    costs: dict[Convention, Cost],
    memories: dict[Convention, Memory],
) -> dict[str, Any]:
    def numbers(value: Cost) -> dict[str, Any]:
        return {"macs": value.macs, "params": value.params, "gmacs": value.gmacs, "mparams": value.mparams}

    return {
        "architecture": design.name,
        "fingerprint": design.fingerprint,
        "image": (design.resolution,) * 2 if sides is None else design.image(*sides),
        "cost": {
            name: {
                **numbers(value),
                "training_bytes": memories[name].training,
                "inference_bytes": memories[name].inference,
            }
            for name, value in costs.items()
        },
        "breakdown": [
            {
                "convention": name,
                "part": part.group,
                "kind": part.kind,
                "share": part.cost.macs / costs[name].macs,
                **numbers(part.cost),
            }
            for name in costs
            for part in breakdown(design, name, sides, reader)
        ],
        "published_as": [row.id for row in published_as(design)],
    }


def _trial_content(design: Architecture, spec: SearchSpec) -> dict[str, Any]:
    training = training_bytes(design, spec.step)
    return {
        "space": spec.name,
        "trained": design.scaled(spec.fidelity.image_scale).name,
        "training_bytes": training,
        "needed_bytes": round(process_bytes(training)),
        "gpu": spec.gpu_of(design),
        "fits": spec.resources.gpu_memory is None or training <= spec.bounds.step_bytes,
    }


def _trial(design: Architecture, spec: SearchSpec) -> str:
    """What training a design in a search takes of a GPU, in a line."""
    trial, resources, training = _trial_content(design, spec), spec.resources, spec.training
    recomputed = ", checkpointing" if training.checkpointing else ""
    text = (
        f"a trial of {spec.name}: {tables.gigabytes(trial['training_bytes'])} at {training.batch_size} images a "
        f"step, {training.precision}{recomputed}; with its margin {trial['needed_bytes'] / GIB:.3g} GiB"
    )
    if resources.gpu_memory is None:
        return text
    whole = f"{resources.gpu_memory:g} GiB"
    return f"{text}: {trial['gpu']:g} of a GPU of {whole}" if trial["fits"] else f"{text}, too much for {whole}"


def _compare(design: Architecture) -> None:
    """The rows that the authors published of this design, and what they chose at the same cost."""
    gmacs = price(design, "published").gmacs
    for row in published_as(design):
        put(f"published as {row.summary}: here {gmacs / row.gmacs - 1:+.2%}")
    task = {"logits": "classification", "tokens": "multimodal"}.get(design.merge, "detection")
    near = [row for row in published_near(gmacs, task) if row.architecture != design]
    if near:
        put(f"\nthe authors' designs within 10 % of its published {gmacs:.4g} GMACs:")
    for row in near[:PUBLISHED_LISTED]:
        put(f"  {row.summary}", f"    {row.architecture}")
