"""The SVG element around a drawing: its colours on light and dark pages, and its description.

A drawing takes its text colour from the page around it and its other colours from four CSS variables (`--branch-1` to
`--branch-4`), so that it suits any page. As a separate file it carries the colours of both.
"""

from html import escape

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Colours of the branches, distinct for colour-blind people (Okabe and Ito, 2008); readable on white and black."""
ON_DARK = ("#56B4E9", "#F0884A", "#2BC79A", "#E5A3C8")
"""Colours of the branches on dark pages."""
INK = "#1b1f24"
"""Colour of text on light pages."""
INK_ON_DARK = "#e6e9ee"
"""Colour of text on dark pages."""
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def svg_element(
    size: tuple[float, float], label: str, title: str, described: str, inner: str, standalone: bool = False
) -> str:
    """One SVG element.

    Args:
        size: Width and height in pixels.
        label: Name of the drawing for people who do not see it.
        title: Text under a pointer.
        described: Description of the content.
        inner: The elements in it.
        standalone: Whether it is a separate file, with the colours of light and dark pages.
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
    """Styles with the colours of a drawing outside a page."""
    light, dark = (
        " ".join(f"--branch-{number}: {colour};" for number, colour in enumerate(colours, 1))
        for colours in (COLOURS, ON_DARK)
    )
    return (
        f"<style>svg {{ color: {INK}; {light} }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ color: {INK_ON_DARK}; {dark} }} }}</style>"
    )
