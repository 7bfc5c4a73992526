"""Finds the images that the reader cannot decode. The user's cache folder remembers those that it can."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

from piip_search.errors import ImageError
from piip_workers.cache import cache_folder
from piip_workers.images.pictures import FILES_A_BATCH, LARGE, THREADS, Header, Pictures
from piip_workers.tasks.classification.image_sets.reading import READER_VERSION, read_image
from piip_workers.whole_files import write_whole


def undecodable_of(
    folder: Path,
    names: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
    ended: Callable[[], bool] = lambda: False,
) -> list[str]:
    """The images that cannot be decoded, with the reasons: one line each.

    Args:
        folder: Folder of the images.
        names: Names of the images, relative to the folder.
        progress: Called with the number of decoded images and of all that have to be decoded.
        ended: Whether to stop; images that are not decoded by then are left out of the answer.
    """
    pictures = Pictures(folder, names)
    contents = pictures.hashes(names)
    known = _known()
    new = [(name, content) for name, content in zip(names, contents, strict=True) if content not in known]
    headers = pictures.headers([name for name, _ in new])
    large = {name for (name, _), header in zip(new, headers, strict=True) if header and _is_large(header)}
    good: set[str] = set()
    faults: list[str] = []
    with ThreadPoolExecutor(THREADS) as pool:
        # A pool finishes all its tasks before a program may end, so it gets few at a time.
        for start in range(0, len(new), FILES_A_BATCH):
            if ended():
                break
            batch = new[start : start + FILES_A_BATCH]
            reasons = list(pool.map(lambda name: _fault(folder / name, name in large), [name for name, _ in batch]))
            faults += [reason for reason in reasons if reason]
            good |= {content for (_, content), fault in zip(batch, reasons, strict=True) if content and not fault}
            progress(start + len(batch), len(new))
    if good:
        with suppress(OSError):  # without write permission they are decoded again
            write_whole(_cache(), json.dumps(sorted(known | good)))
    return faults


_one_large = threading.Lock()


def _is_large(header: Header) -> bool:
    return header.width * header.height > LARGE


def _fault(file: Path, large: bool) -> str:
    """The reason why an image cannot be decoded; empty for none. Large ones are decoded one by one."""
    try:
        with _one_large if large else nullcontext():
            read_image(file)
    except ImageError as error:
        return str(error)
    return ""


def _cache() -> Path:
    return cache_folder() / "pictures" / f"decodable-{READER_VERSION}.json"


def _known() -> set[str]:
    """Contents that were decoded before; empty where they cannot be read."""
    try:
        found = json.loads(_cache().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return set(map(str, found)) if isinstance(found, list) else set()
