"""Every error that is more than a bug, drawn once.

    PiipError
    ├── UserError                what a user can mend; it is a ValueError too
    │   ├── SpecError            a file that describes a search, with all its mistakes
    │   ├── YamlError            a YAML file that cannot be read
    │   ├── DesignError          an architecture that cannot be built or priced
    │   ├── SpaceError           a search space that cannot be searched, or does not hold a design
    │   ├── DataError            images or annotations that cannot be used
    │   │   ├── UnreadableFileError
    │   │   ├── NotJsonError
    │   │   └── ImageError
    │   ├── ChoiceError          no design of the front is what was asked for
    │   ├── ExportError          a design that cannot be exported, or a folder that is no export
    │   ├── WeightsError         weights that are not there, or do not fit
    │   ├── TableError           a table that cannot be searched
    │   ├── LedgerError          the ledger
    │   │   ├── UrlError
    │   │   └── UnfinishedError
    │   ├── StoreError           MLflow's store
    │   │   └── BrokenStoreError
    │   ├── ClusterError         a Ray cluster
    │   ├── MachineUnfitError    a machine on which Ray cannot start
    │   └── CacheError           the folder of embedded data and of what is known of images
    ├── MachineError             a machine failed a candidate; the search halts, and the same command goes on
    ├── UnreadableRunError       a run of the ledger that a page cannot show
    └── NoPaperError             no browser is there to print with

The command line prints a `UserError`, or an `OSError` of a file, as one message and ends with exit code 2. Anything
else is a bug and keeps its traceback.
"""

from pathlib import Path

MOST_TOLD = 40
"""Problems that the message of a `SpecError` lists."""


class PiipError(Exception):
    """Any error of this project that is not a bug."""


class UserError(PiipError, ValueError):
    """Something the user can mend; the message has the rule, the value and the way out."""


class SpecError(UserError):
    """A search space file that cannot be used.

    Attributes:
        path: The file.
        problems: One line each: place in the file, rule, value, way out.
    """

    def __init__(self, path: Path | str, problems: list[str]) -> None:
        self.path = str(path)
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        more = [f"and {len(problems) - MOST_TOLD} more"] if len(problems) > MOST_TOLD else []
        super().__init__("\n  ".join([f"{path}: {count}", *problems[:MOST_TOLD], *more]))


class YamlError(UserError):
    """A file that cannot be used; the message has the place, where there is one."""


class DesignError(UserError):
    """An architecture that cannot be built or priced."""


class SpaceError(UserError):
    """A search space that cannot be searched, or does not hold a design."""


class DataError(UserError):
    """Images or annotations that cannot be used."""


class UnreadableFileError(DataError):
    """A file is no annotation file in COCO format; the message says what it is."""


class NotJsonError(DataError):
    """A file is no JSON; the message says where it ends to be."""


class ImageError(DataError):
    """An image cannot be decoded; the message says which."""


class ChoiceError(UserError):
    """No design of the front is what was asked for."""


class ExportError(UserError):
    """A design cannot be exported, or a folder is no export."""


class WeightsError(UserError):
    """Weights that are not there, or that do not fit."""


class TableError(UserError):
    """A table of results that cannot be searched."""


class LedgerError(UserError):
    """The ledger cannot be opened, or does not hold what was asked for."""


class UrlError(LedgerError):
    """A text is no database URL, or names a kind of database that is not known."""


class UnfinishedError(LedgerError):
    """A file that may only be read was left in the middle of a change, which somebody who may write has to end."""


class StoreError(UserError):
    """A mirror's store cannot be used until somebody mends it."""


class BrokenStoreError(StoreError):
    """What is in the store cannot be read any more; all of it can be written again from the ledger."""


class ClusterError(UserError):
    """The cluster cannot be used."""


class MachineUnfitError(UserError):
    """Ray cannot be started on this machine."""


class CacheError(UserError):
    """The cache folder cannot be used."""


class MachineError(PiipError):
    """The machine is at fault, not the candidate; the message says what is, and the way out."""


class UnreadableRunError(PiipError):
    """A run of the ledger that a page cannot show."""


class NoPaperError(PiipError):
    """No browser is there to print with."""
