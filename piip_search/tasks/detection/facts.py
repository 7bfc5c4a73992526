"""The metrics of the task detection."""

from piip_search.tasks.task import Metric

_KINDS = {"bbox": ("box", "boxes"), "segm": ("mask", "masks")}
_COLUMNS = {"bbox_mAP": "box AP", "segm_mAP": "mask AP"}
_PARTS = {
    "": ("", "averaged over overlaps from 0.5 to 0.95"),
    "_50": (" at 0.5", "at an overlap of 0.5"),
    "_75": (" at 0.75", "at an overlap of 0.75"),
    "_s": (", small", "of objects below 32 x 32 pixels"),
    "_m": (", medium", "of objects from 32 x 32 to 96 x 96 pixels"),
    "_l": (", large", "of objects above 96 x 96 pixels"),
}


def _metric(kind: str, part: str) -> Metric:
    name, (word, words), (title, about) = f"{kind}_mAP{part}", _KINDS[kind], _PARTS[part]
    text = f"COCO's average precision of {words}, {about}, over all classes."
    return Metric(name, f"{word} AP{title}", text, column=_COLUMNS.get(name))


DETECTION_METRICS = tuple(_metric(kind, part) for kind in _KINDS for part in _PARTS)
"""COCO's twelve averages without the recalls; those of masks if the detector predicts masks."""
