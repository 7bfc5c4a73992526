"""The consoles of all commands: what they print has no effect on the terminal but their own."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from piip_search.plain_text import printable


class PlainConsole(Console):
    """A console whose texts are all printed as `printable`; colours and cursor moves of its own stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable, every text of it without control characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text, lines=True))
