"""Drawings of an architecture: its images to scale, its blocks, its interactions, and its merge.

A drawing has no script, and no style element unless it is a separate file.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from piip_dashboards.drawing.svg_element import COLOURS, svg_element
from piip_search.architecture import Architecture, Branch
from piip_search.architecture.backbones import ConvNeXt
from piip_search.architecture.segments import KEEPS_PREFIX, interaction_ranges
from piip_search.cost.branch import branch_parts
from piip_search.cost.conventions import Cost, rules_for
from piip_search.units import quantity

DRAWING_WIDTH = 880
_IMAGE = 116
"""Side of the largest image in pixels; others are in proportion."""
_WORDS = 140
"""Left edge of a branch's text, in pixels."""
_BLOCKS = 352
"""Left edge of its blocks, in pixels."""
_END = 718
"""Right edge of its blocks, in pixels."""
_MERGE = 760
"""Left edge of the merge's box, in pixels."""
MOST_WINDOWS = 48
"""Most attention windows that are drawn along a side."""
_LANE = 84
"""Height of a branch, in pixels."""
_GAP = 14
"""Space between two branches."""
_TOP = 30
"""Space above the first one."""
_TALLEST = 46
"""Height of the tallest block, in pixels."""
_WIDEST = 1280
"""Width of the network whose blocks are the tallest; wider ones are no taller."""


@dataclass(frozen=True, slots=True)
class _Lane:
    """The place of a branch in a drawing."""

    branch: Branch
    colour: str
    top: float
    height: float
    side: float

    @property
    def middle(self) -> float:
        return self.top + self.height / 2


def architecture_svg(architecture: Architecture, standalone: bool = False) -> str:
    """An architecture as one SVG element.

    Args:
        architecture: Architecture to draw.
        standalone: Whether it is a separate file, with the colours of light and dark pages.
    """
    lanes = _lanes(architecture)
    bottom = lanes[-1].top + lanes[-1].height
    height = bottom + 58
    parts = [
        *_headings(),
        *(
            part
            for lane in lanes
            for part in (*_image(lane), *_words(lane, architecture), *_blocks(lane, architecture))
        ),
        *_exchanges(lanes, architecture),
        *_merge(lanes, architecture),
        *_legend(architecture, bottom + 24),
    ]
    name = architecture.name
    size, inner = (DRAWING_WIDTH, height), "".join(parts)
    return svg_element(size, f"Architecture {name}", name, described(architecture), inner, standalone)


def described(architecture: Architecture) -> str:
    """The drawing's content as text, for people who do not see it."""
    branches = "; ".join(
        f"branch {number}: {branch.model.title} on images of {branch.resolution} px, {attention(branch)}"
        for number, branch in enumerate(architecture.branches, 1)
    )
    return f"{branches}; {exchange(architecture)}; {' '.join(_outcome(architecture))}."


def attention(branch: Branch) -> str:
    """The attention of a branch as text."""
    if isinstance(branch.model, ConvNeXt):
        return "convolutions"
    if branch.window is None:
        return "global attention"
    every = f", every {_ordinal(branch.global_every)} block global" if branch.global_every else ""
    return f"windows of {branch.window}{every}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def exchange(architecture: Architecture) -> str:
    """The interactions of neighbours as text."""
    interaction = architecture.interaction
    if len(architecture.branches) == 1:
        return "one branch"
    if not interaction.count:
        return "no interactions"
    ways = {
        "both": "both ways",
        "to_large": "the larger model reads",
        "to_small": "the smaller model reads",
        "alternating": "the two models read by turns",
    }
    plural = "" if interaction.count == 1 else "s"
    lacks = [f"without {part}" for part in ("projection", "norm") if not getattr(interaction, part)]
    kind = f"{interaction.attention} attention of {interaction.heads} heads"
    return ", ".join([f"{interaction.count} interaction{plural}", kind, ways[interaction.direction], *lacks])


def _lanes(architecture: Architecture) -> list[_Lane]:
    largest, top, lanes = architecture.resolution, float(_TOP), []
    for branch, colour in zip(architecture.branches, _colours(), strict=False):
        side = _IMAGE * branch.resolution / largest
        height = max(_LANE, side)
        lanes.append(_Lane(branch, colour, top, height, side))
        top += height + _GAP
    return lanes


def _colours() -> Iterator[str]:
    for number, colour in enumerate(COLOURS, 1):
        yield f"var(--branch-{number}, {colour})"


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{" " if more else ""}{more}>{escape(words)}</text>'


_DIM = 'opacity="0.75" font-size="11"'


def _headings() -> Iterator[str]:
    for x, words in (
        (0, "image, to scale"),
        (_WORDS, "branch"),
        (_BLOCKS, "blocks, first to last"),
        (_MERGE, "output"),
    ):
        yield _text(x, 13, words, _DIM)


def _image(lane: _Lane) -> Iterator[str]:
    """Draws the image as a square, with the borders of its attention windows."""
    x, y, side = (_IMAGE - lane.side) / 2, lane.middle - lane.side / 2, lane.side
    yield (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" rx="1" fill="{lane.colour}" '
        f'fill-opacity="0.16" stroke="{lane.colour}" stroke-width="1.5"/>'
    )
    window, grid = lane.branch.window, lane.branch.grid
    if window is None or window >= grid:
        return
    # Of windows too narrow to be told apart, only some borders are drawn.
    window *= max(1, -(-grid // (window * MOST_WINDOWS)))
    step = side * window / grid
    lines = "".join(
        f"M{x + place:.1f} {y:.1f}v{side:.1f}M{x:.1f} {y + place:.1f}h{side:.1f}"
        for place in (step * count for count in range(1, -(-grid // window)))
    )
    yield f'<path d="{lines}" stroke="{lane.colour}" stroke-width="0.7" opacity="0.75" fill="none"/>'


def _words(lane: _Lane, architecture: Architecture) -> Iterator[str]:
    branch, model = lane.branch, lane.branch.model
    sides = (branch.resolution, branch.resolution)
    cost = Cost.total(cost for _, cost in branch_parts(branch, sides, rules_for("backbone", architecture.merge, model)))
    y = lane.middle - 24
    yield _text(_WORDS, y, _shortened(model.title), 'font-weight="600" font-size="13"')
    patches = f" of {model.patch} px" if branch.patch_size else ""
    tokens = "" if isinstance(model, ConvNeXt) else f", {branch.grid}² tokens{patches}"
    widths = sorted({stage.width for stage in model.stages})
    lines = (
        f"{quantity(cost.mparams, 'M parameters', 3)}, {quantity(cost.gmacs, 'GMACs', 3)}",
        f"{branch.resolution} px{tokens}",
        attention(branch),
        f"{model.depth} blocks, {'–'.join(map(str, dict.fromkeys((widths[0], widths[-1]))))} wide",
    )
    for place, line in enumerate(lines, 1):
        yield _text(_WORDS, y + 15 * place, line, 'font-size="11"')


def _shortened(words: str, most: int = 24) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


def _stretches(architecture: Architecture) -> tuple[float, float]:
    """Width of a stretch, and of the gap after it for an interaction."""
    each = (_END - _BLOCKS) / architecture.stretches
    return each, (min(12.0, each * 0.36) if architecture.stretches > 1 or architecture.interaction.count else 0.0)


def _blocks(lane: _Lane, architecture: Architecture) -> Iterator[str]:
    """Draws each block as a bar, as tall as the model is wide; global blocks among windows are filled."""
    model, (each, room) = lane.branch.model, _stretches(architecture)
    widths = [stage.width for stage in model.stages for _ in range(stage.blocks)]
    windows = () if isinstance(model, ConvNeXt) else lane.branch.windows
    yield (
        f'<path d="M{_BLOCKS - 6} {lane.middle:.1f}H{_MERGE - 20}" stroke="{lane.colour}" opacity="0.7" fill="none"/>'
    )
    for place, stretch in enumerate(interaction_ranges(model, architecture.stretches)):
        left, step = _BLOCKS + place * each, (each - room) / len(stretch)
        for index, block in enumerate(stretch):
            height = 10 + (_TALLEST - 10) * min(1.0, widths[block] / _WIDEST) ** 0.5
            wide = max(1.2, min(step - min(2.0, 0.25 * step), 14.0))
            filled = bool(windows) and windows[block] is None and lane.branch.window is not None
            yield (
                f'<rect x="{left + index * step + (step - wide) / 2:.1f}" y="{lane.middle - height / 2:.1f}" '
                f'width="{wide:.1f}" height="{height:.1f}" rx="1.5" fill="{lane.colour}" '
                f'fill-opacity="{0.95 if filled else 0.5}"/>'
            )


def _exchanges(lanes: list[_Lane], architecture: Architecture) -> Iterator[str]:
    """Draws an arrow for each interaction; its heads point at the reading branches."""
    each, room = _stretches(architecture)
    head = max(2.2, min(4.5, room * 0.6))
    for large, small in itertools.pairwise(lanes):
        for step in range(architecture.interaction.count):
            x = _BLOCKS + (step + 1) * each - room / 2
            large_reads, small_reads = architecture.interaction.reads(step)
            top, bottom = large.middle + 3, small.middle - 3
            heads = (f"M{x:.1f} {top:.1f}l{head:.1f} {1.6 * head:.1f}h{-2 * head:.1f}z" if large_reads else "") + (
                f"M{x:.1f} {bottom:.1f}l{head:.1f} {-1.6 * head:.1f}h{-2 * head:.1f}z" if small_reads else ""
            )
            yield f'<path d="M{x:.1f} {top + 2:.1f}V{bottom - 2:.1f}" stroke="currentColor" opacity="0.7" fill="none"/>'
            yield f'<path d="{heads}" opacity="0.85"/>'


def _merge(lanes: list[_Lane], architecture: Architecture) -> Iterator[str]:
    """Draws the merge of the branches and its output."""
    middle = (lanes[0].middle + lanes[-1].middle) / 2
    each, room = _stretches(architecture)
    bus = _MERGE - 20
    if len(lanes) > 1:
        yield (
            f'<path d="M{bus} {lanes[0].middle:.1f}V{lanes[-1].middle:.1f}" stroke="currentColor" stroke-width="1.5" '
            'opacity="0.7" fill="none"/>'
        )
    yield (
        f'<path d="M{bus} {middle:.1f}H{_MERGE - 6}m-6 -4l6 4l-6 4" stroke="currentColor" stroke-width="1.5" '
        'fill="none"/>'
    )
    for tap in architecture.taps if len(architecture.taps) > 1 else ():
        x = _BLOCKS + (tap + 1) * each - room / 2
        for lane in lanes:
            yield f'<circle cx="{x:.1f}" cy="{lane.middle:.1f}" r="3.4" fill="{lane.colour}" stroke="currentColor"/>'
    lines = _outcome(architecture)
    top = middle - 8 * len(lines) + 4
    for place, line in enumerate(lines):
        yield _text(_MERGE, top + 15 * place + 4, line, 'font-weight="600"' if not place else 'font-size="11"')


def _outcome(architecture: Architecture) -> list[str]:
    """Lines about the merge's output."""
    alone = len(architecture.branches) == 1 and architecture.merge not in KEEPS_PREFIX
    title = "no merge" if alone else f"merge: {architecture.merge}"
    if architecture.merge == "logits":
        return [title, "class scores,", "mean of the branches"]
    if architecture.merge == "tokens":
        return [title, "language tokens,", "sum of the branches"]
    side = architecture.resolution
    return [title, *(f"{width} × {side // stride} × {side // stride}" for width, stride in architecture.merged)]


def _legend(architecture: Architecture, y: float) -> Iterator[str]:
    words = exchange(architecture)
    if architecture.interaction.count:
        words += "; an arrow points to the reading branch"
    yield _text(0, y, words[0].upper() + words[1:])
    notes = (
        ["lines in an image: its attention windows"] if any(branch.window for branch in architecture.branches) else []
    )
    notes.append("a bar a block, as tall as the model is wide")
    if any(branch.global_every for branch in architecture.branches):
        notes.append("strong bars attend globally")
    if len(architecture.taps) > 1:
        notes.append("circles: joined into a map")
    text = "; ".join(notes)
    yield _text(0, y + 18, text[0].upper() + text[1:], _DIM)
