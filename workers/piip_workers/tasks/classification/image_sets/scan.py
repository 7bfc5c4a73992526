"""The images of one part of a data set with their classes, and the findings about them."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from piip_workers.tasks.classification.image_sets.names import by_ending


@dataclass
class PartScan:
    """The images of a part as they were found.

    Attributes:
        place: Place of the part in the file, such as `data.train`.
        folder: Folder of the images.
        found: Names of the images, relative to the folder, and their classes.
        empty: Classes without an image, and what is there in the place of images.
        odd: Numbers of files that are no images, by their endings.
        problems: Reasons why the part cannot be used, one line each.
        notices: Ways in which it is read that a user may not expect.
    """

    place: str
    folder: Path
    found: list[tuple[str, str]] = field(default_factory=list)
    empty: dict[str, str] = field(default_factory=dict)
    odd: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Adds a problem of this part."""
        self.problems.append(f"{self.place}: {text}")

    def notice(self, text: str) -> None:
        """Adds a notice about this part."""
        self.notices.append(f"{self.place}: {text}")

    def tell_odd_files(self) -> None:
        """Adds a notice about the files that are no images."""
        count = self.odd.total()
        if count:
            what = (
                "1 file is not read as an image, and is"
                if count == 1
                else f"{count:,} files are not read as images, and are"
            )
            self.notice(f"{what} left out: {by_ending(self.odd)}")
