"""Finds the images of a folder of class folders."""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Literal

from piip_workers.tasks.classification.image_sets.names import (
    FOLDER,
    by_ending,
    ending_of,
    few,
    has_image_ending,
    has_image_head,
    images_of,
    is_clutter,
    natural_key,
    shown,
)
from piip_workers.tasks.classification.image_sets.scan import PartScan


def scan_class_folders(place: str, folder: Path) -> PartScan:
    """The images of a folder whose folders are the classes.

    Classes are one folder deep. Hidden files and folders, and what systems leave behind, are neither classes nor
    images.

    Args:
        place: Place of the part in the file, such as `data.train`.
        folder: Folder of the class folders.
    """
    return _Walk(PartScan(place, folder)).walked()


class _Walk:
    """A walk through the class folders, and what it meets on the way."""

    def __init__(self, scan: PartScan) -> None:
        self._scan = scan
        self._stray: list[str] = []
        self._nested: list[str] = []
        self._dead: list[str] = []

    def walked(self) -> PartScan:
        scan, classes = self._scan, 0
        for entry in self._entries(scan.folder):
            kind = _kind(entry)
            if kind == "folder":
                classes += 1
                self._look_into(entry)
            elif _is_image(entry, kind):
                self._stray.append(entry.name)
            else:
                scan.odd[ending_of(entry.name)] += 1
        self._tell(classes)
        return scan

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What a folder holds, in natural order, without clutter."""
        try:
            with os.scandir(folder) as found:
                kept = [entry for entry in found if not is_clutter(entry.name)]
        except OSError as error:
            self._scan.problem(f"{shown(folder)} cannot be read ({error.strerror or error}); permit it")
            return []
        return sorted(kept, key=lambda entry: natural_key(entry.name))

    def _look_into(self, folder: os.DirEntry[str]) -> None:
        """Adds the images of a class folder."""
        scan, odd, images = self._scan, Counter[str](), 0
        if not _is_text(folder.name):
            scan.problem(f"names of class folders must be UTF-8, got {shown(folder.name)}; rename it")
            return
        known = len(scan.problems) + len(self._nested) + len(self._dead)
        for entry in self._entries(Path(folder.path)):
            kind = _kind(entry)
            name = f"{folder.name}/{entry.name}"
            if kind == "folder":
                if _holds_images(entry.path):
                    self._nested.append(name)
                else:
                    odd[FOLDER] += 1
            elif not _is_image(entry, kind):
                odd[ending_of(entry.name)] += 1
            elif kind == "file":
                scan.found.append((name, folder.name))
                images += 1
            else:
                self._dead.append(name)
        scan.odd += odd
        # A folder that cannot be read, or whose images lie deeper, is one problem and not two.
        if not images and known == len(scan.problems) + len(self._nested) + len(self._dead):
            scan.empty[folder.name] = by_ending(odd)

    def _tell(self, classes: int) -> None:
        scan, folder = self._scan, shown(self._scan.folder)
        stray = len(self._stray)
        if self._nested:
            scan.problem(
                f"{folder}: images must lie in their class folder itself, and {few(self._nested)} hold images one "
                "folder deeper; move them up, name the folder that holds the classes, or give a list"
            )
        if self._dead:
            scan.problem(f"{folder}: must hold regular files, and these are none: {few(self._dead)}; restore them")
        if not classes and not scan.problems:
            there = f"{images_of(stray)} without a class" if stray else by_ending(scan.odd) or "nothing"
            scan.problem(
                f"{folder} must hold a folder of images for each class, and holds {there}; make such folders, or give "
                "a list (images and list) with the classes of its images"
            )
        elif stray:
            scan.notice(f"{images_of(stray)} beside the class folders left out: {few(self._stray, 3)}")
        scan.tell_odd_files()


def _kind(entry: os.DirEntry[str]) -> Literal["folder", "file", "other"]:
    with suppress(OSError):  # a link that leads to itself
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    return "other"


def _is_image(entry: os.DirEntry[str], kind: str) -> bool:
    """Whether a file is an image, by its ending or else by its first bytes; pipes are not opened."""
    return has_image_ending(entry.name) or (kind == "file" and has_image_head(Path(entry.path)))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _holds_images(folder: str) -> bool:
    """Whether images lie in a folder, at any depth."""
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_clutter(name)]
        if any(has_image_ending(name) and not is_clutter(name) for name in files):
            return True
    return False
