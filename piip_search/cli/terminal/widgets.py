"""Widgets that fit a terminal's width and character set."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from piip_search.cli.terminal.front_plot import plot_front
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront

BAR = 20
"""Characters of a full bar."""
WIDEST_PLOT = 76
"""Characters of the widest plot."""


@dataclass(frozen=True)
class Bar:
    """A bar of up to `width` characters, in eighths of a character, or whole ones in ASCII."""

    share: float
    width: int = BAR

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("#" * round(self.share * self.width) if options.ascii_only else bar(self.share, self.width))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.width, self.width)


def bar(share: float, width: int = BAR) -> str:
    """A bar of up to `width` characters, in eighths of one."""
    eighths = round(share * width * 8)
    return "\u2588" * (eighths // 8) + ("" if eighths % 8 == 0 else chr(0x2590 - eighths % 8))


@dataclass(frozen=True)
class DesignName:
    """The short form of a design, wrapped between its branches if a line is too short."""

    name: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("\n".join(self._lines(options.max_width)), overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(max(map(len, self._parts)), len(self.name)).with_maximum(options.max_width)

    @property
    def _parts(self) -> list[str]:
        first, *rest = self.name.split("+")
        return [first, *(f"+{part}" for part in rest)]

    def _lines(self, width: int) -> list[str]:
        lines = [""]
        for part in self._parts:
            if lines[-1] and len(lines[-1]) + len(part) > width:
                lines.append("")
            lines[-1] += part
        return lines


@dataclass(frozen=True)
class FrontPlot:
    """The front as a small plot in the full width.

    `baselines` has cost and metric of each measured baseline.
    """

    fronts: Sequence[ParetoFront]
    evaluations: Sequence[Evaluation]
    objectives: Objectives
    height: int = 12
    baselines: Sequence[tuple[float, float]] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options)

    def lines(self, options: ConsoleOptions) -> list[Text]:
        """Its lines in a terminal of that width."""
        width = max(30, min(options.max_width, WIDEST_PLOT))
        lines = plot_front(
            self.fronts,
            self.evaluations,
            self.objectives,
            width,
            self.height,
            options.ascii_only,
            self.baselines,
        )
        return [Text(line.rstrip(), no_wrap=True, overflow="crop") for line in lines]
