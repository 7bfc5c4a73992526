"""Published numbers are quoted from PIIP (arXiv 2501.07783), tables 1, 9 and 12, and from its README."""

import pytest

from piip_search.architecture import Architecture
from piip_search.cost import Cost, breakdown, price

PUBLISHED = [
    ("vit_b@448:w14+vit_s@896:w14+vit_t@1120:w14*12", 243, 146),
    ("vit_b@448:w14+vit_s@896:w14+vit_t@1568:w14*12", 287, 147),
    ("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12", 453, 149),
    ("vit_b@448:w14+vit_s@672:w14+vit_t@1120:w14*12", 192, None),
    ("vit_b@672:w14+vit_s@1120:w14+vit_t@1792:w14*12", 480, None),
    ("vit_b@448:w14+vit_s@896:w14+vit_t@1120:w14*0", 176, None),
    ("vit_b@448:w14+vit_s@896:w14+vit_t@1120:w14*2", 187, None),
    ("vit_b@448:w14+vit_s@896:w14+vit_t@1120:w14*6", 210, None),
    ("vit_l@448:w28+vit_b@672:w28+vit_s@1120:w28*12", 727, 493),
    ("vit_l@448:w28+vit_b@896:w28+vit_s@1344:w28*12", 1002, 495),
    ("vit_l@448:w28+vit_b@672:w28+vit_s@896:w28+vit_t@1344:w28*12", 755, 506),
    ("vit_l@448:w28+vit_b@672:w28+vit_s@1120:w28+vit_t@1568:w28*12", 861, 507),
    ("vit_l@448:w28+vit_b@1120:w28+vit_s@1568:w28+vit_t@1792:w28*12", 1535, 512),
    ("vit_b@1024:w14g3", 463, 90),
    ("vit_l@1024:w14g3", 1542, 308),
]


@pytest.mark.parametrize(("name", "gmacs", "mparams"), PUBLISHED)
def test_published_rows_are_reproduced(name: str, gmacs: float, mparams: float | None) -> None:
    cost = price(Architecture.parse(name), "published")
    assert cost.gmacs == pytest.approx(gmacs, rel=0.005)
    if mparams is not None:
        assert cost.mparams == pytest.approx(mparams, rel=0.007)


@pytest.mark.parametrize("convention", ["published", "backbone"])
@pytest.mark.parametrize("merge", ["", "/linear"])
def test_parts_sum_to_the_whole(convention: str, merge: str) -> None:
    architecture = Architecture.parse("vit_b@448:w14+vit_t@1120:w14*6" + merge)
    parts = breakdown(architecture, convention)  # type: ignore[arg-type]
    assert sum((cost for _, cost in parts), Cost()) == price(architecture, convention)  # type: ignore[arg-type]


def test_the_merge_that_really_runs_is_dearer_than_the_published_one() -> None:
    architecture = Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12")
    assert price(architecture, "backbone").gmacs > 1.2 * price(architecture, "published").gmacs


def test_windows_that_do_not_fit_cost_their_padding() -> None:
    fitting = price(Architecture.parse("vit_t@448:w14"), "backbone")
    padded = price(Architecture.parse("vit_t@448:w15"), "backbone")
    assert padded.macs > fitting.macs
    assert padded.params == fitting.params
