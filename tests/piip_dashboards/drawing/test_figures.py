"""Charts as files and as parts of a page."""

import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from piip_dashboards.drawing.svg_element import COLOURS, ON_DARK
from piip_search.analysis.effects import Weight

figures = pytest.importorskip("piip_dashboards.drawing.figures", exc_type=ImportError)
page = pytest.importorskip("piip_dashboards.drawing.page_svg", exc_type=ImportError)
FrontChart, ChartMember, Chart, page_svg = figures.FrontChart, figures.ChartMember, page.Chart, page.page_svg


def front(count: int = 3, others: int = 2, metric: str = "bbox_mAP") -> FrontChart:
    members = tuple(ChartMember(chr(65 + n), 10.0 * 2**n, 0.1 * (n + 1), "vit_t@224:g") for n in range(count))
    random = np.random.default_rng(0)
    points = zip(random.uniform(10, 80, others), random.uniform(0, 0.1, others), strict=True)
    return FrontChart(metric, "backbone", (20.0, 40.0), members, tuple(points), (15.0,))


def svg(chart: FrontChart, title: str = "Front", standalone: bool = False) -> str:
    return str(page_svg(Chart(figures.front_figure(chart), title, "Three members."), standalone))


def test_a_chart_takes_its_colours_from_the_page_and_says_what_it_shows() -> None:
    drawn = svg(front())
    root = ElementTree.fromstring(drawn)
    assert root.get("role") == "img"
    assert [element.text for element in root][:2] == ["Front", "Three members."]
    assert "<style" not in drawn  # it would change the rest of the page
    assert "url(" not in drawn
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn)) == {
        "none",
        "currentColor",
        f"var(--branch-1, {COLOURS[0]})",
        f"var(--branch-2, {COLOURS[1]})",
    }


def test_a_chart_of_its_own_has_the_colours_of_light_and_dark_surroundings() -> None:
    drawn = svg(front(), standalone=True)
    assert all(colour in drawn for colour in (*COLOURS, *ON_DARK))
    assert "prefers-color-scheme: dark" in drawn


def test_equal_charts_are_equal_and_share_no_id_with_another() -> None:
    assert svg(front()) == svg(front())
    ids = [set(re.findall(r' id="([^"]+)"', svg(front(), title))) for title in ("Front", "Another")]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'href="#([^"]+)"', svg(front()))) == ids[0]


def test_ten_thousand_points_weigh_little() -> None:
    assert len(svg(front(others=10_000))) < 200_000


def test_letters_that_would_lie_on_each_other_are_left_out() -> None:
    texts = [text.text for text in ElementTree.fromstring(svg(front(26))).iter("{http://www.w3.org/2000/svg}text")]
    assert {"A", "Z"} <= set(texts)
    near = tuple(ChartMember(letter, 10 + n / 100, 0.1 + n / 1e4, "") for n, letter in enumerate("AB"))
    wide = FrontChart("m", "backbone", (), (*near, ChartMember("C", 70.0, 0.9, "")))
    texts = [text.text for text in ElementTree.fromstring(svg(wide)).iter("{http://www.w3.org/2000/svg}text")]
    assert "A" in texts
    assert "B" not in texts


@pytest.mark.parametrize("rises", [True, False])
def test_the_line_of_a_front_comes_from_the_worst(rises: bool) -> None:
    axes = figures.front_figure(replace(front(), rises=rises)).axes[0]
    first = axes.lines[[line.get_drawstyle() for line in axes.lines].index("steps-post")].get_ydata()[0]
    assert first == axes.get_ylim()[0 if rises else 1]


@pytest.mark.parametrize("metric", ["$m_$", "精度", "a<b&c"])
def test_a_metric_may_have_any_name(metric: str) -> None:
    for name in (metric, f"{metric}\a"):
        assert metric in "".join(ElementTree.fromstring(svg(front(metric=name))).itertext())


def test_points_are_seen_in_a_picture_too(tmp_path: Path) -> None:
    from PIL import Image

    def ink(others: int) -> int:
        file = io.BytesIO()
        figures.front_figure(front(others=others)).savefig(file, format="png")
        return int((np.asarray(Image.open(file).convert("L")) < 220).sum())

    assert ink(400) > ink(1) + 2000


def test_bars_begin_at_zero_even_where_nothing_is_told() -> None:
    drawn = page_svg(Chart(figures.weights_figure([Weight("windows", -0.01, 0.0)]), "Weights", "windows -1 %"))
    assert "windows" in "".join(ElementTree.fromstring(drawn).itertext())
