"""A figure of matplotlib as a small SVG element for light and dark pages, with a description."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from matplotlib.figure import Figure

from piip_dashboards.drawing.figures import save_figure
from piip_dashboards.drawing.svg_element import COLOURS, INK, svg_element

_NAMESPACE = re.compile(r"{http://www.w3.org/(?:2000/svg|1999/xlink)}")
_LEFT_OUT = ("style", "metadata", "clipPath")
_NUMBER = re.compile(r"(-?\d+\.\d)\d+")
"""A number with more places than a screen can show."""
_DOT = re.compile(r"M (\S+) (\S+) L \1 \2(?: |$)")
"""A line of length zero, which round ends make a dot."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Characters that names may contain and XML forbids."""
_FONT = "font-family: 'DejaVu Sans'; "
_COLOURS = {
    INK: "currentColor",
    **{colour.lower(): f"var(--branch-{number}, {colour})" for number, colour in enumerate(COLOURS, 1)},
}
"""Colours of a figure, and their names on a page."""
_COLOUR = re.compile("|".join(_COLOURS))


@dataclass(frozen=True)
class Chart:
    """A figure with its texts.

    Attributes:
        figure: Figure in the colours of `svg_element`.
        title: Title; different for each chart of a page.
        described: Description for people who do not see it.
    """

    figure: Figure
    title: str
    described: str


def page_svg(chart: Chart, standalone: bool = False) -> str:
    """A chart as one SVG element; equal charts give equal text.

    Args:
        chart: Chart to convert.
        standalone: Whether it is a separate file, with the colours of light and dark pages.
    """
    text = io.StringIO()
    save_figure(chart.figure, text, "svg", salt=chart.title, transparent=True)
    shapes = _shapes(ElementTree.fromstring(_CONTROL.sub("", text.getvalue())))
    inner = "".join(ElementTree.tostring(shape, encoding="unicode") for shape in shapes)
    width, height = 72 * chart.figure.get_size_inches()
    return svg_element((width, height), chart.title, chart.title, chart.described, inner, standalone)


def _shapes(parent: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """The drawn shapes, without groups, clip areas, and styles that would change the page."""
    for child in parent:
        child.tag, child.tail, child.text = _NAMESPACE.sub("", child.tag), None, (child.text or "").strip()
        if child.tag == "g":
            yield from _shapes(child)
        elif child.tag not in _LEFT_OUT and child.get("style") != "fill: none":
            kept = list(_shapes(child))
            child[:] = kept
            if kept or child.tag != "defs":
                yield _on_page(child)


def _on_page(shape: ElementTree.Element) -> ElementTree.Element:
    """A shape with the numbers, colours and fonts of a page."""
    values = {_NAMESPACE.sub("", name): value for name, value in shape.attrib.items() if name != "clip-path"}
    shape.attrib.clear()
    for name, value in values.items():
        shape.set(name, _recoloured(value) if name == "style" else _short(value))
    return shape


def _short(value: str) -> str:
    """Numbers of places and outlines in the precision of a screen."""
    return _DOT.sub(r"M\1 \2h0", _NUMBER.sub(r"\1", " ".join(value.split())))


def _recoloured(style: str) -> str:
    """A style with the colours of the page, and without the figure's font."""
    return _COLOUR.sub(lambda found: _COLOURS[found[0]], style.replace(_FONT, ""))
