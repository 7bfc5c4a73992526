from typing import Any

import pytest

from piip_search.architecture import Architecture
from piip_search.cost import CONVENTIONS, Cost, breakdown, conventions_of, price
from piip_search.tasks.detection.head import COCO_MASK_RCNN, DetectorHead


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    "name",
    [
        "vit_b@448:w14+vit_t@1120:w14*6",
        "vit_b@448:w14+vit_t@1120:w14*6/linear",
        "vit_b@448:w14+convnext_t@1024*6",
        "convnext_b@1024",
    ],
)
def test_parts_sum_to_the_whole(convention: Any, name: str) -> None:
    architecture = Architecture.parse(name)
    parts = breakdown(architecture, convention, (700, 1100), COCO_MASK_RCNN)
    whole = price(architecture, convention, (700, 1100), COCO_MASK_RCNN)
    assert sum((part.cost for part in parts), Cost()) == whole
    assert all(part.cost.macs >= 0 and part.cost.params >= 0 for part in parts)


def test_a_design_of_each_convention() -> None:
    maps, labels = Architecture.parse("vit_b@448:g"), Architecture.parse("vit_b@448:g/logits")
    assert conventions_of(maps, COCO_MASK_RCNN) == CONVENTIONS
    assert conventions_of(labels, COCO_MASK_RCNN) == ("published", "backbone")
    with pytest.raises(ValueError, match="no outputs that the head reads"):
        price(labels, "whole", head=COCO_MASK_RCNN)


def test_an_image_is_padded_until_all_grids_are_exact() -> None:
    architecture = Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12")
    assert architecture.image(800, 1333) == (896, 1344)
    assert price(architecture, "backbone", (800, 1333)) == price(architecture, "backbone", (896, 1344))
    assert price(architecture, "backbone", (1568, 1568)) == price(architecture, "backbone")


def test_a_wider_detector_costs_more() -> None:
    architecture = Architecture.parse("vit_b@448:w14")
    narrow, wide = (price(architecture, "whole", head=DetectorHead("retinanet", width)) for width in (64, 256))
    assert narrow.macs < wide.macs
    assert narrow.params < wide.params


def test_the_merge_that_really_runs_is_dearer_than_the_published_one() -> None:
    architecture = Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12")
    assert price(architecture, "backbone").gmacs > 1.2 * price(architecture, "published").gmacs


def test_windows_that_do_not_fit_cost_their_padding() -> None:
    fitting = price(Architecture.parse("vit_t@448:w14"), "backbone")
    padded = price(Architecture.parse("vit_t@448:w15"), "backbone")
    assert padded.macs > fitting.macs
    assert padded.params == fitting.params
