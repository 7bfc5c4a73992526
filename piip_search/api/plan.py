"""Plans a search: its designs, their costs, and the effort of measuring them."""

from pathlib import Path

from piip_search.api.checks import image_counts, with_trials
from piip_search.api.extras import extra
from piip_search.config import SearchSpec
from piip_search.errors import UserError
from piip_search.search.plan import Plan, make_plan

PICTURES = (".png", ".svg", ".pdf")
"""File endings of a plan's picture."""
GPU_THROUGHPUT = 20.0
"""Multiply-accumulates a second in training, in 10^12, of a trial with a GPU: a tenth of an A100's bfloat16 peak."""
CPU_THROUGHPUT = 0.03
"""Multiply-accumulates a second in training, in 10^12, of a trial without a GPU, as measured on one core."""


def plan_search(
    spec: SearchSpec,
    source: Path,
    trials: int | None = None,
    images: tuple[int, int] | None = None,
    throughput: float | None = None,
) -> Plan:
    """Plans a search, without training or building a network.

    Args:
        spec: Search to plan.
        source: File of the spec, for messages.
        trials: Trials to measure, in place of the spec's.
        images: Number of training and validation images; by default those of the data, if it is on this machine.
        throughput: Multiply-accumulates a second of one device in training, in 10^12.

    Raises:
        SpecError: The space is empty, or a tier of the limit lies below its cheapest design.
    """
    usual = GPU_THROUGHPUT if spec.resources.gpu else CPU_THROUGHPUT
    return make_plan(with_trials(spec, trials), source, images or image_counts(spec), throughput or usual)


def check_picture(path: Path) -> None:
    """Checks that a plan can be drawn into a file.

    Raises:
        UserError: The file's ending is no format of a picture.
    """
    if path.suffix not in PICTURES:
        raise UserError(f"a picture must end in {', '.join(PICTURES)}, got {path}; change its ending")


def draw_spread(plan: Plan, path: Path) -> None:
    """Draws a plan's spread of costs into a file.

    Args:
        plan: Plan.
        path: File, whose ending is one of `PICTURES`.

    Raises:
        UserError: An extra is missing, or the file has another ending.
    """
    check_picture(path)
    with extra("plots"):
        from piip_dashboards.drawing.plan_figure import draw_plan
    draw_plan(plan, path)
