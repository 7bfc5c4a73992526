import re
from xml.etree import ElementTree

import pytest

from piip_dashboards.drawing.architecture_svg import architecture_svg, described
from piip_search.architecture import Architecture
from piip_search.architecture.published import published_designs

SVG = "{http://www.w3.org/2000/svg}"
THREE = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"


def _drawn(form: str) -> ElementTree.Element:
    return ElementTree.fromstring(architecture_svg(Architecture.parse(form)))


def _words(drawing: ElementTree.Element) -> str:
    return " | ".join(element.text or "" for element in drawing.iter(f"{SVG}text"))


def _images(drawing: ElementTree.Element) -> list[float]:
    return [
        float(rect.get("width", 0)) for rect in drawing.iter(f"{SVG}rect") if rect.get("height") == rect.get("width")
    ]


def test_images_are_to_scale() -> None:
    first, second, third = _images(_drawn(THREE))[:3]
    assert first / third == pytest.approx(672 / 1568, abs=0.01)
    assert second / third == pytest.approx(1120 / 1568, abs=0.01)


def test_every_block_has_a_bar() -> None:
    bars = [rect for rect in _drawn(THREE).iter(f"{SVG}rect") if rect.get("rx") == "1.5"]
    assert len(bars) == 3 * 12


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (11, "11th"),
        (12, "12th"),
        (13, "13th"),
        (21, "21st"),
        (22, "22nd"),
        (23, "23rd"),
        (91, "91st"),
        (100, "100th"),
    ],
)
def test_every_so_many_blocks_are_counted_as_people_do(number: int, word: str) -> None:
    form = f"vit_w64_d100_h2@224:w7g{number}"
    assert f"windows of 7, every {word} block global" in _words(_drawn(form))
    assert f"every {word} block global" in described(Architecture.parse(form))


def _arrowheads(form: str) -> int:
    """Heads of arrows are closed triangles that end in z."""
    return sum(len(re.findall("z", path.get("d", ""))) for path in _drawn(form).iter(f"{SVG}path"))


@pytest.mark.parametrize(
    ("tail", "heads"), [("*12", 48), ("*12(direction=to_large)", 24), ("*12(direction=alternating)", 24), ("*0", 0)]
)
def test_arrows_point_at_who_reads(tail: str, heads: int) -> None:
    """Two pairs of neighbours, and in each as many interactions."""
    assert _arrowheads(THREE.removesuffix("*12") + tail) == heads


def test_words_name_models_sizes_and_windows() -> None:
    words = _words(_drawn(THREE))
    assert all(part in words for part in ("ViT-B", "ViT-S", "ViT-T", "672 px, 42² tokens", "windows of 14"))
    assert "768 × 98 × 98" in words
    assert "12 interactions" in words


def test_blocks_that_attend_globally_among_windows_stand_out() -> None:
    strong = [rect for rect in _drawn("vit_l@1024:w14g3").iter(f"{SVG}rect") if rect.get("fill-opacity") == "0.95"]
    assert len(strong) == 8


def test_a_drawing_on_a_page_needs_no_style_and_no_script() -> None:
    drawn = architecture_svg(Architecture.parse(THREE))
    assert "<style" not in drawn
    assert "style=" not in drawn
    assert "<script" not in drawn
    assert "prefers-color-scheme: dark" in architecture_svg(Architecture.parse(THREE), standalone=True)


def test_it_is_told_in_words() -> None:
    drawn = _drawn(THREE)
    assert drawn.get("role") == "img"
    text = drawn.findtext(f"{SVG}desc") or ""
    assert text == described(Architecture.parse(THREE))
    assert "ViT-T on images of 1568 px" in text


def test_every_published_design_can_be_drawn() -> None:
    for row in published_designs():
        drawn = ElementTree.fromstring(architecture_svg(row.architecture, standalone=True))
        _, _, width, height = (float(number) for number in drawn.get("viewBox", "").split())
        assert all(0 <= float(text.get("x", -1)) < width for text in drawn.iter(f"{SVG}text")), row.id
        assert all(0 <= float(text.get("y", -1)) <= height for text in drawn.iter(f"{SVG}text")), row.id
