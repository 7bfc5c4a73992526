"""The SVG element around a drawing: its colours on light and dark pages, and its words for who does not see it.

A drawing takes its text colour from what surrounds it and its other colours from four CSS variables (`--branch-1` to
`--branch-4`), so that it is right on any page. As a file of its own it carries the colours of both.
"""

from html import escape

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Colours of the branches, which colour-blind people tell apart (Okabe and Ito, 2008); readable on white and black."""
ON_DARK = ("#56B4E9", "#F0884A", "#2BC79A", "#E5A3C8")
"""The same on dark pages."""
INK = "#1b1f24"
"""Colour of words on light pages."""
INK_ON_DARK = "#e6e9ee"
"""Colour of words on dark pages."""
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def svg_element(
    size: tuple[float, float], label: str, title: str, described: str, inner: str, standalone: bool = False
) -> str:
    """One SVG element.

    Args:
        size: Width and height in pixels.
        label: What it is, for who does not see it.
        title: What is shown where a pointer rests on it.
        described: What it shows, in words.
        inner: The elements in it.
        standalone: Whether it becomes a file of its own, with the colours of light and dark surroundings.
    """
    width, height = size
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(label)}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" fill="currentColor" '
        f'font-family="{FONTS}" font-size="12">'
        f"<title>{escape(title)}</title><desc>{escape(described)}</desc>"
        f"{_colours() if standalone else ''}{inner}</svg>"
    )


def _colours() -> str:
    """Colours of a drawing that no page lends any."""
    light, dark = (
        " ".join(f"--branch-{number}: {colour};" for number, colour in enumerate(colours, 1))
        for colours in (COLOURS, ON_DARK)
    )
    return (
        f"<style>svg {{ color: {INK}; {light} }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ color: {INK_ON_DARK}; {dark} }} }}</style>"
    )
