"""The baselines of a search: counts them before it, and trains them after it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from piip_search.api.evaluators import evaluator_of, prepared_first
from piip_search.api.extras import extra
from piip_search.api.notices import Notify, ignore
from piip_search.api.programs import read_program
from piip_search.api.runners import Drive, Place, ReadySearch, measurement
from piip_search.architecture.design import Design
from piip_search.architecture.stock import OWN_FILE, StockNetwork
from piip_search.config import SearchSpec, SpecError
from piip_search.config.baselines import own_config
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import trials_folder
from piip_workers.tasks import worker_of

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.ledger import Ledger
    from piip_search.search.search import Search


@dataclass(frozen=True)
class CountedBaselines:
    """The baselines of a space, ready to be trained.

    Attributes:
        designs: Designs and counted stock networks, each once.
        files: Users' own files, by the configurations of their networks.
        contents: Contents of these files when they were counted, by path.
    """

    designs: tuple[Design, ...]
    files: Mapping[str, Path]
    contents: Mapping[Path, str]


def counted_baselines(spec: SearchSpec, source: object, progress: Notify = ignore) -> CountedBaselines:
    """The baselines of a space, with the costs of stock networks counted on the built networks.

    Users' own files are read here, once: their contents tell their networks apart.

    Args:
        spec: Search.
        source: Name of the space in messages.
        progress: Called with the current step.

    Raises:
        SpecError: A stock network cannot be built or counted; the message lists all of them.
        UserError: An extra is not installed.
    """
    problems: list[str] = []
    found: list[Design] = []
    files: dict[str, Path] = {}
    contents: dict[Path, str] = {}
    for design in spec.baseline_designs:
        if not isinstance(design, StockNetwork):
            found.append(design)
            continue
        progress(f"counting {design.name}")
        try:
            if design.config.startswith(OWN_FILE):
                path = Path(design.config.removeprefix(OWN_FILE))
                contents.setdefault(path, read_program("baselines", path))
                design = replace(design, config=own_config(contents[path]))
                files.setdefault(design.config, path)
            with extra(spec.known_task.extra):
                found.append(worker_of(spec.task).counted(design, spec, files))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise SpecError(str(source), list(dict.fromkeys(problems)))
    return CountedBaselines(tuple(dict.fromkeys(found)), files, contents)


def open_baselines(
    search: "Search",
    baselines: CountedBaselines,
    ledger: "Ledger",
    home: Path,
    runner: tuple[Drive, Callable[[], str], int],
    on: Place,
    data: str,
    fresh: bool = False,
    take_over: bool = False,
    notify: Notify = ignore,
) -> ReadySearch:
    """Opens the baselines of a search, or resumes them, without training.

    They are trained after the search: so they answer none of its trials, and take none of its hours.

    Args:
        search: The search.
        baselines: Counted baselines.
        ledger: Ledger of the search.
        home: Home folder.
        runner: The runner of the search: its drive, the description of the usage, and the trials at once.
        on: Place of the search.
        data: Fingerprint of the data.
        fresh: Whether to ignore measurements of other runs in the ledger.
        take_over: Whether to take them from another owner, or from a process that drives them.
        notify: Called with notes about an evaluator's preparation.

    Returns:
        The baselines as a search, whose `drive` trains them.

    Raises:
        LedgerError: Another process drives them, or they belong to another owner.
    """
    from piip_search.ledger.environment import circumstances
    from piip_search.search.baselines import open_baselines as opened

    for path, content in baselines.contents.items():
        ledger.keep_file(search.run, str(path), content)
    beside = opened(search, baselines.designs, ledger, fresh, circumstances(), take_over)
    drive, usage, at_once = runner
    # The files of the user's own space, never paths out of the ledger.
    files = {config: str(file.resolve()) for config, file in baselines.files.items()}
    alone = measurement(search.spec, home, search.run, beside, files)
    measure, preparation = evaluator_of(search.spec, alone, beside, data, home, on)
    drive = prepared_first(drive, preparation, notify)
    trials = trials_folder(home, search.run, search.recipe)
    return ReadySearch(beside, partial(drive, beside, measure), usage, at_once, trials)
