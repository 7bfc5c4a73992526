"""Finds the images of a list."""

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from piip_search.errors import DataError
from piip_search.sections import shortened
from piip_search.tasks.classification.section import ClassPart
from piip_workers.images.image_files import image_file, is_there, names_outside, where_else
from piip_workers.tasks.classification.image_sets.names import few, has_image_ending, is_clutter, shown
from piip_workers.tasks.classification.image_sets.scan import PartScan
from piip_workers.tasks.classification.image_sets.tables import ListRow, read_list


def scan_list(place: str, root: Path, folder: Path, file: Path, part: ClassPart) -> PartScan:
    """The images of a list. An ending that a name lacks is added, where one file alone fits.

    Args:
        place: Place of the part in the file, such as `data.train`.
        root: Folder of the data.
        folder: Folder of the images.
        file: The list.
        part: The part, with the names of columns.
    """
    scan, images = PartScan(place, folder), _Folder(folder)
    try:
        found = read_list(file, part, lambda name: images.file(name) is not None)
    except DataError as error:
        for line in str(error).splitlines():
            scan.problem(line)
        return scan
    scan.notices += [f"{place}: {line}" for line in found.notices]
    if not found.rows:
        scan.problem(f"{shown(file)} must have one row an image, and has none below its header")
        return scan
    _Listed(scan, root, file, images).take(found.rows)
    return scan


class _Folder:
    """The files of a folder by the names that a list may have for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._roots = tuple(dict.fromkeys((folder.absolute(), folder.resolve())))

    def file(self, name: str) -> Path | None:
        """The file that a name means, perhaps without ending; None for none, or for more than one."""
        if not name or "\0" in name:
            return None
        plain = image_file(self._folder, name)
        if is_there(plain):
            return plain
        fitting = self.fitting(name)
        return self._folder / fitting[0] if len(fitting) == 1 else None

    def fitting(self, name: str) -> list[str]:
        """The files that a name without ending may mean."""
        return self._stems.get(os.path.normpath(name.replace("\\", "/")), [])

    def relative(self, file: Path) -> str:
        """A file's name relative to the folder."""
        place = Path(os.path.normpath(file.absolute()))
        for root in self._roots:
            if place.is_relative_to(root):
                return place.relative_to(root).as_posix()
        return place.as_posix()

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        """Names of all images by their names without ending; read only if a list leaves endings out."""
        stems: dict[str, list[str]] = {}
        for where, folders, files in os.walk(self._folder, followlinks=False):
            folders[:] = sorted(name for name in folders if not is_clutter(name))
            for name in sorted(files):
                if has_image_ending(name) and not is_clutter(name):
                    path = Path(where, name).relative_to(self._folder)
                    stems.setdefault(path.with_suffix("").as_posix(), []).append(path.as_posix())
        return stems


class _Listed:
    """The rows of a list, sorted into images and faults."""

    def __init__(self, scan: PartScan, root: Path, file: Path, images: _Folder) -> None:
        self._scan, self._root, self._file, self._images = scan, root, file, images
        self._faults: dict[str, list[str]] = {}
        self._hints: dict[str, str] = {}

    def take(self, rows: Iterable[ListRow]) -> None:
        """Adds the images and the findings of all rows."""
        scan, folder = self._scan, self._scan.folder
        rows = list(rows)
        outside = names_outside(folder, {row.file for row in rows if row.file and "\0" not in row.file})
        labels: dict[str, tuple[str, int]] = {}
        twice = []
        for row in rows:
            name = self._name(row, outside)
            if not row.label:
                self._fault("the class must not be empty; write it, or drop the row", row, row.file)
            elif name is not None:
                label, first = labels.setdefault(name, (row.label, row.number))
                if label != row.label:
                    also = f"{name} is {label} in row {first:,} and {row.label}"
                    self._fault("an image must have one class; drop all rows of it but one", row, also)
                elif first != row.number:
                    twice.append(f"{name} in rows {first:,} and {row.number:,}")
        scan.found += [(name, label) for name, (label, _) in labels.items()]
        for rule, places in self._faults.items():
            hint = self._hints.get(rule)
            count = f"{len(places):,} rows: " if len(places) > 1 else ""
            scan.problem(f"{shown(self._file)}: {rule}: {count}{few(places)}{f'; {hint}' if hint else ''}")
        if twice:
            scan.notice(f"{shown(self._file)}: images that are listed twice count once: {few(twice)}")

    def _name(self, row: ListRow, outside: set[str]) -> str | None:
        """The name of a row's image, relative to the folder; None after a fault."""
        if not row.file or "\0" in row.file:
            self._fault("the name of the image must not be empty; write it, or drop the row", row, row.file)
            return None
        if row.file in outside:
            self._fault(
                f"images must lie in {shown(self._scan.folder)}; write names relative to it, or set images to a folder "
                "that holds them all",
                row,
                row.file,
            )
            return None
        file = self._images.file(row.file)
        if file is not None:
            return self._images.relative(file)
        fitting = self._images.fitting(row.file)
        if len(fitting) > 1:
            self._fault("a name without ending must fit one file; write the ending", row, f"{few(fitting)} are there")
            return None
        rule = "no such image; restore it, or drop the row"
        self._fault(rule, row, str(self._scan.folder / row.file))
        if rule not in self._hints:
            self._hints[rule] = where_else(self._scan.folder, self._root, row.file)
        return None

    def _fault(self, rule: str, row: ListRow, value: str) -> None:
        shortly = value if value.isprintable() and len(value) <= 200 else shortened(value)
        self._faults.setdefault(rule, []).append(f"row {row.number:,}{f' ({shortly})' if value else ''}")
