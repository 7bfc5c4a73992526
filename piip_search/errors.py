"""All errors that are not bugs, in one tree.

    PiipError
    ├── UserError                an error that a user can fix; it is a ValueError too
    │   ├── SpecError            a file that describes a search, with all its mistakes
    │   ├── YamlError            a YAML file that cannot be read
    │   ├── DesignError          an architecture that cannot be built or priced
    │   ├── SpaceError           a search space that cannot be searched, or lacks a design
    │   ├── DataError            images or annotations that cannot be used
    │   │   ├── UnreadableFileError
    │   │   ├── NotJsonError
    │   │   └── ImageError
    │   ├── ChoiceError          no design, or more than one, fits a user's choice
    │   ├── ExportError          a design that cannot be exported, or a folder that is no export
    │   ├── WeightsError         weights that are missing or do not fit
    │   ├── TableError           a table that cannot be searched
    │   ├── LedgerError          the ledger
    │   │   ├── UrlError
    │   │   ├── UnfinishedError
    │   │   ├── RefusalError     a database that cannot be a ledger, or not for this user
    │   │   └── ClaimedError     work on a search that another process has claimed
    │   ├── StoreError           MLflow's store
    │   │   ├── BrokenStoreError
    │   │   └── UnreachableStoreError
    │   ├── ClusterError         a Ray cluster
    │   ├── PreparationError     an evaluator that could not be prepared
    │   ├── QueueFullError       too many acts of pages are waiting
    │   ├── OtherActError        another act of a page on the same thing waits or runs
    │   ├── MachineUnfitError    a machine on which Ray cannot start
    │   └── CacheError           the folder of embedded data and facts of images
    ├── MachineError             a machine failed a candidate; the search halts and can be resumed
    │   ├── LostPeersError       processes that train together have lost each other
    │   └── NotPreparedError     an evaluator that was asked before it was prepared
    ├── UnreadableRunError       a run of the ledger that a page cannot show
    └── NoPaperError             no browser can print

The command line prints a `UserError`, or an `OSError` of a file, as one message and ends with exit code 2. Anything
else is a bug and keeps its traceback.
"""

from pathlib import Path

MOST_LISTED_PROBLEMS = 40
"""Most problems that the message of a `SpecError` lists."""


class PiipError(Exception):
    """Any error of this project that is not a bug."""


class UserError(PiipError, ValueError):
    """An error that the user can mend; the message has the rule, the value and the way out."""


class SpecError(UserError):
    """A search space file is invalid or unusable.

    Attributes:
        path: Path of the file.
        problems: One line for each problem: place in the file, rule, value, way out.
    """

    def __init__(self, path: Path | str, problems: list[str]) -> None:
        self.path = str(path)
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        more = [f"and {len(problems) - MOST_LISTED_PROBLEMS} more"] if len(problems) > MOST_LISTED_PROBLEMS else []
        super().__init__("\n  ".join([f"{path}: {count}", *problems[:MOST_LISTED_PROBLEMS], *more]))


class YamlError(UserError):
    """A YAML file cannot be used; the message has the place, if there is one."""


class DesignError(UserError):
    """An architecture that cannot be built or priced."""


class SpaceError(UserError):
    """A search space cannot be searched, or lacks a design."""


class DataError(UserError):
    """Images or annotations that cannot be used."""


class UnreadableFileError(DataError):
    """An annotation file has a format that is not read; the message names it."""


class NotJsonError(DataError):
    """A file is no JSON; the message names the place of the fault."""


class ImageError(DataError):
    """An image cannot be decoded; the message names it."""


class ChoiceError(UserError):
    """No design, or more than one, fits a user's choice."""


class ExportError(UserError):
    """A design cannot be exported, or a folder is no export."""


class WeightsError(UserError):
    """Weights are missing or do not fit."""


class TableError(UserError):
    """A table of results cannot be searched."""


class LedgerError(UserError):
    """The ledger cannot be opened, or lacks a record."""


class UrlError(LedgerError):
    """A text is no database URL, or names an unsupported database."""


class RefusalError(LedgerError):
    """A database cannot be used; the message has the reason and the way out."""


class ClaimedError(LedgerError):
    """Another process holds a claim; the message says who."""


class UnfinishedError(LedgerError):
    """A read-only file was left in the middle of a change; a user with write permission has to complete it."""


class StoreError(UserError):
    """A mirror's store cannot be used until somebody mends it."""


class BrokenStoreError(StoreError):
    """The store is damaged; its content can be written again from the ledger."""


class UnreachableStoreError(StoreError):
    """The store does not answer, or refuses."""


class ClusterError(UserError):
    """The cluster cannot be used."""


class QueueFullError(UserError):
    """Too many acts that pages have started are waiting."""


class OtherActError(UserError):
    """Another act on the same thing waits or runs."""


class MachineUnfitError(UserError):
    """Ray cannot be started on this machine."""


class PreparationError(UserError):
    """An evaluator could not be prepared; what was measured is kept."""


class CacheError(UserError):
    """The cache folder cannot be used."""


class MachineError(PiipError):
    """The machine is at fault, not the candidate; the message has the fault and the way out."""


class LostPeersError(MachineError):
    """Processes that train together have lost each other; all begin again from the last checkpoint."""


class NotPreparedError(MachineError):
    """An evaluator was asked before it was prepared, or where its preparation cannot be seen."""


class UnreadableRunError(PiipError):
    """A run of the ledger cannot be shown on a page."""


class NoPaperError(PiipError):
    """No browser can print the page."""
