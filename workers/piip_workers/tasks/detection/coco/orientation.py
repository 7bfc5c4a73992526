"""The pixels that annotations mean if an image file has an orientation tag (EXIF).

Tools differ: some annotate an image upright, as people see it, others as its pixels are stored. Both are common, and a
file does not record it. Its sizes reveal it where turning changes them.

Legend: M images.
"""

from collections.abc import Sequence

from piip_search.sections import Orientation
from piip_workers.images.pictures import Header, Pictures, ProgressCallback
from piip_workers.tasks.detection.coco.annotation_file import Images
from piip_workers.tasks.detection.coco.findings import Findings, Rule, Shown

_SIZE = Rule("", "height and width must be those of its file")
_UNKNOWN = Rule(
    "",
    "its file is to be turned (EXIF), and its sizes do not show whether its boxes are of turned pixels",
    "set it beside images and annotations: orientation: exif for turned pixels, orientation: stored for the pixels as "
    "stored; or remove the tag from the files",
)
_DISOBEYED = Rule(
    "",
    "its file is to be turned, and OpenCV does not read this format both ways",
    "write the image again, upright and without the tag",
)
_STORED = Rule(
    "",
    "its file is to be turned (EXIF), and its boxes are of the pixels as stored",
    "",
    1.0,
    "so these pixels are read",
)


def orientation_of(
    images: Images, pictures: Pictures, progress: ProgressCallback = lambda done, total: None
) -> Orientation | None:
    """The orientation of annotations by the sizes of all images; None if sizes do not show it, or no image is turned.

    Args:
        images: Images of the annotation file.
        pictures: Files of the images.
        progress: Called with the number of read files and of all files.
    """
    votes = {vote for vote in _votes(images, pictures.headers(images.names, progress)) if vote}
    return next(iter(votes)) if len(votes) == 1 else None


def _votes(images: Images, headers: Sequence[Header | None]) -> list[Orientation | None]:
    """The orientation of each image's recorded size; None if both or neither fit."""
    found: list[Orientation | None] = []
    for header, size in zip(headers, images.sizes_M2.tolist(), strict=True):
        if header is None or not header.is_turned or not header.obeyed or header.stored == header.upright:
            found.append(None)
        else:
            found.append({header.upright: "exif", header.stored: "stored"}.get(tuple(size)))  # type: ignore[arg-type]
    return found


def look_at_sizes(
    images: Images, headers: Sequence[Header | None], said: Orientation | None, findings: Findings
) -> bool:
    """Adds findings for images whose recorded size does not fit the file, or whose orientation is unknown.

    Args:
        images: Images of the annotation file.
        headers: Headers of their files.
        said: Orientation that the user set.
        findings: Earlier findings.

    Returns:
        Whether all recorded sizes fit.
    """
    votes = _votes(images, headers)
    known = {vote for vote in votes if vote}
    usual = said or (next(iter(known)) if len(known) == 1 else None)
    wrong, ratios = [], set()
    for at, (header, size) in enumerate(zip(headers, images.sizes_M2.tolist(), strict=True)):
        if header is None or not header.width:
            continue
        height, width = size
        allowed = {header.upright, header.stored} if said is None else {_sized(header, said)}
        place = f"images[{images.places_M[at]}]"
        if (height, width) not in allowed:
            wrong.append((place, _shown(images.names[at], size, header)))
            ratios.add(_ratio(size, header))
        elif header.is_turned and not header.obeyed:
            if not header.swaps or height == width:
                findings.add(_DISOBEYED, place, Shown(f"orientation {header.orientation} in {images.names[at]}"))
        elif header.is_turned and (votes[at] or usual) is None:
            findings.add(_UNKNOWN, place, Shown(f"orientation {header.orientation} in {images.names[at]}"))
        elif header.is_turned and (votes[at] or usual) == "stored":
            findings.add(_STORED, place, Shown(f"orientation {header.orientation} in {images.names[at]}"))
    if wrong:
        findings.add_many(_SIZE, len(wrong), wrong[:3], _hint(ratios))
    return not wrong


def _sized(header: Header, said: Orientation) -> tuple[int, int]:
    return header.upright if said == "exif" else header.stored


def _shown(name: str, size: Sequence[int], header: Header) -> Shown:
    height, width = header.stored
    turned = f", {header.upright[1]} x {header.upright[0]} turned as its EXIF says" if header.is_turned else ""
    return Shown(f"{size[1]} x {size[0]}, but {name} has {width} x {height}{turned}")


def _ratio(size: Sequence[int], header: Header) -> str:
    height, width = header.upright
    if (size[1], size[0]) == (height, width):
        return "exchanged"
    factor = height / size[0]
    return f"{factor:.4g}" if abs(width - factor * size[1]) <= max(1.0, factor) else ""


def _hint(ratios: set[str]) -> str:
    if ratios == {"exchanged"}:
        return "height and width look exchanged: export the annotations again"
    (ratio, *others) = ratios
    if not others and ratio:
        return f"all of these files are {ratio} times as large: were they resized after the annotations were exported?"
    return "the annotations are of other images than these: export them again, or restore the images"
