"""Recognises files of other formats that are given as COCO annotations, and names the right file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

INSTANCES = "give a file in COCO's instances format, with lists images, annotations and categories"


def foreign_file(file: Path) -> str:
    """The format of a file by its name or first bytes if it is no JSON; empty if it may be."""
    suffix = file.suffix.lower()
    if suffix in _SUFFIXES:
        return f"this is {_SUFFIXES[suffix]}; {INSTANCES}"
    with file.open("rb") as opened:
        head = opened.read(200).lstrip()
    for start, what in _STARTS.items():
        if head.startswith(start):
            return f"this is {what}"
    return ""


_SUFFIXES = {
    ".txt": "a text file, such as YOLO's labels",
    ".yaml": "a YAML file, such as YOLO's description of a data set",
    ".yml": "a YAML file, such as YOLO's description of a data set",
    ".xml": "an XML file, such as Pascal VOC's",
    ".csv": "a table of comma-separated values, such as Open Images'",
    ".record": "a TFRecord file",
    ".tfrecord": "a TFRecord file",
    ".ndjson": "a file of one JSON document a line, such as Labelbox's",
    ".jsonl": "a file of one JSON document a line",
}
_STARTS = {
    b"version https://git-lfs": "a Git LFS pointer in the place of the file; fetch the file itself with git lfs pull",
    b"<?xml": f"an XML file, such as Pascal VOC's; {INSTANCES}",
    b"<!DOCTYPE": "a page of a web site, saved in the place of the file; download the file again",
    b"<!doctype": "a page of a web site, saved in the place of the file; download the file again",
    b"<html": "a page of a web site, saved in the place of the file; download the file again",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
    b"PK\x03\x04": "a ZIP archive; unpack it and give the file inside",
    b"\x1f\x8b": "a gzip archive; unpack it and give the file inside",
}


def foreign_image(file: Path) -> str:
    """The format of a file that no image library decodes; empty if it is unknown."""
    try:
        with file.open("rb") as opened:
            head = opened.read(200).lstrip()
    except OSError:
        return ""
    if not head:
        return "it is empty"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "it is a HEIC picture: convert it to JPEG or PNG"
    found = next((what for start, what in _STARTS.items() if head.startswith(start)), "")
    return f"it is {found}" if found else ""


def foreign_format(samples: Mapping[str, Any]) -> str:
    """The format of a JSON document that is not COCO's; empty if it may be.

    Args:
        samples: First value of each key of the outer object; the first element of an outer list under the empty key.
    """
    for is_one, what, way_out in _KINDS:
        if is_one(samples):
            return f"this is {what}; {way_out}"
    return ""


def _entry(samples: Mapping[str, Any], key: str = "annotations") -> Mapping[str, Any]:
    """The first entry of a list; empty without one."""
    first = samples.get(key)
    return first if isinstance(first, dict) else {}


def _has(key: str, *names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda samples: all(name in _entry(samples, key) for name in names)


def _keys(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda samples: all(name in samples for name in names)


def _is_lvis(samples: Mapping[str, Any]) -> bool:
    return "neg_category_ids" in _entry(samples, "images") or "not_exhaustive_category_ids" in _entry(samples, "images")


def _is_without_boxes(name: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda samples: name in _entry(samples) and "bbox" not in _entry(samples)


def _is_via(samples: Mapping[str, Any]) -> bool:
    first = next((value for value in samples.values() if isinstance(value, dict)), {})
    return "_via_img_metadata" in samples or ("regions" in first and "filename" in first)


_FEDERATED = (
    "its images name only some of the categories in them, which these averages do not know; write a file in which all "
    "objects of the categories are annotated, without neg_category_ids"
)
_KINDS: tuple[tuple[Callable[[Mapping[str, Any]], bool], str, str], ...] = (
    (_has("annotations", "segments_info"), "a panoptic file", "give the instances file (instances_*.json)"),
    (_is_without_boxes("caption"), "a file of captions", "give the instances file (instances_*.json)"),
    (_is_without_boxes("question_id"), "a file of answers to questions", INSTANCES),
    (lambda samples: "images" in samples and "annotations" not in samples, "a list of images alone", INSTANCES),
    (_is_without_boxes("keypoints"), "a file of keypoints without boxes", "give the instances file (instances_*.json)"),
    (_is_lvis, "an LVIS file", _FEDERATED),
    (_has("", "image_id", "bbox", "score"), "a list of detections, not of ground truth", INSTANCES),
    (_has("", "image", "annotations"), "a CreateML file", INSTANCES),
    (_has("", "data", "annotations"), "an export of Label Studio in its own format", "export it again as COCO"),
    (_has("", "name", "labels"), "a BDD100K or Scalabel file", INSTANCES),
    (_keys("shapes", "imagePath"), "a LabelMe file of one image", INSTANCES),
    (_is_via, "a VIA project", "export it again as COCO"),
    (_keys("objects", "size"), "a Supervisely file of one image", INSTANCES),
    (_keys("nbformat", "cells"), "a notebook", INSTANCES),
    (lambda samples: samples.get("type") == "FeatureCollection", "a GeoJSON file", INSTANCES),
)
