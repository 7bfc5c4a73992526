"""Checks a search space with its data before anything starts, and reports all problems together."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from piip_search.api.extras import extra
from piip_search.api.notices import ignore
from piip_search.architecture import Architecture
from piip_search.architecture.backbones import backbone_named, has_weights, weight_file, weights_hint
from piip_search.architecture.miniatures import MINIATURE, without_miniature
from piip_search.config import SearchSpec, SpecError
from piip_search.errors import UserError
from piip_search.file_paths import located
from piip_search.search.feasible import feasible_designs
from piip_workers.tasks import worker_of


def checked_data(
    spec: SearchSpec,
    source: Path | str,
    progress: Callable[[str], None] = ignore,
    notify: Callable[[str], None] = ignore,
) -> None:
    """Checks limit, weights and data of a space; all problems are reported together.

    Args:
        spec: Spec to check.
        source: Name of the file in messages.
        progress: Called with the current step.
        notify: Called with ways in which data is read that a user may not expect.

    Raises:
        SpecError: A problem was found.
    """
    problems: list[str] = []
    try:
        feasible_designs(spec, source)
    except SpecError as error:
        problems += error.problems
    problems += [*_missing_weights(spec), *_data_problems(spec, progress, notify)]
    if problems:
        raise SpecError(source, problems)


def usable_data(spec: SearchSpec, progress: Callable[[str], None], notify: Callable[[str], None]) -> None:
    """Checks the data of an earlier search.

    Args:
        spec: Spec of the search.
        progress: Called with the current step.
        notify: Called with ways in which data is read that a user may not expect.

    Raises:
        UserError: The data can no longer be used.
    """
    problems = _data_problems(spec, progress, notify)
    if problems:
        raise UserError("\n  ".join(["the data of this run cannot be used:", *problems]))


def _data_problems(spec: SearchSpec, progress: Callable[[str], None], notify: Callable[[str], None]) -> list[str]:
    """Problems of the data, or of its use for the training."""
    with extra(spec.known_task.extra):
        report = worker_of(spec.task).examine(spec, progress)
    for notice in () if report.problems else report.notices:
        notify(notice)
    return report.problems


def _missing_weights(spec: SearchSpec) -> list[str]:
    """Problems of backbones without pre-trained weights; a hub is only queried later, when they are needed."""
    place = spec.training.pretrained
    beside = [design for design in spec.baseline_designs if isinstance(design, Architecture)]
    names = dict.fromkeys([*spec.space.backbones, *(branch.backbone for one in beside for branch in one.branches)])
    if place == MINIATURE:
        problem = without_miniature(tuple(names))
        return [f"training.pretrained: {problem}"] if problem else []
    problems = []
    for name in names if place is not None else ():
        backbone = backbone_named(name)
        found = backbone.timm_name if place == "hub" else weight_file(backbone, Path(str(place)))
        if found:
            continue
        if not has_weights(backbone):
            problems.append(f"training.pretrained: {name} has no pre-trained weights; leave it out")
        elif place == "hub":
            hint = weights_hint(backbone, Path("weights"))
            problems.append(f"training.pretrained: {name} is on no hub of timm's; {hint}, and name that folder")
        else:
            problems.append(
                f"training.pretrained: no weights of {name} in {located(str(place))}; "
                f"{weights_hint(backbone, Path(str(place)))}"
            )
    return problems


def looked_through(spec: SearchSpec, progress: Callable[[str], None], notify: Callable[[str], None]) -> str:
    """Decodes the validation images and some training images, and hashes all of them, once for each file.

    Args:
        spec: Spec with the data set and the number of validation images.
        progress: Called with the current step.
        notify: Called with training images that others replace, and with images that are in both parts.

    Returns:
        The fingerprint of the data.

    Raises:
        UserError: A validation image, or most of the training images, cannot be decoded.
    """
    worker = worker_of(spec.task)
    problems = worker.undecodable_images(
        spec.data,
        spec.training.val_images,
        lambda done, total: progress(f"checking validation image {done:,} of {total:,}"),
    )
    if problems:
        head = "these validation images cannot be decoded, so every trial would fail:"
        raise UserError("\n  ".join([head, *problems]))
    progress("checking training images")
    report = worker.undecodable_training_images(spec.data, worker.sample)
    if report.problems:
        head = "these training images cannot be decoded, so every trial would fail:"
        raise UserError("\n  ".join([head, *report.problems]))
    fingerprint = worker.fingerprint(
        spec.data, lambda done, total: progress(f"reading the contents of image {done:,} of {total:,}")
    )
    for notice in (*report.notices, *worker.shared_images(spec.data)):
        notify(notice)
    return fingerprint


@contextmanager
def watched_images(spec: SearchSpec, notify: Callable[[str], None]) -> Iterator[None]:
    """Decodes all training images in the background at the lowest priority, and reports failures.

    Args:
        spec: Spec with the data set.
        notify: Called from another thread.
    """
    worker = worker_of(spec.task)

    def look() -> None:
        with suppress(OSError, AttributeError):  # some systems have no priorities of threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        report = worker.undecodable_training_images(spec.data, None, ended.is_set)
        for line in (*report.problems, *report.notices):
            notify(line)

    counts = worker.image_counts(spec.data)
    if counts is None or counts[0] <= worker.sample:  # all were checked before
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=look, name="training images", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def with_trials(spec: SearchSpec, trials: int | None) -> SearchSpec:
    """The spec with another number of trials, if given."""
    if trials is None:
        return spec
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": trials})})


def image_counts(spec: SearchSpec) -> tuple[int, int] | None:
    """Number of training and validation images; None if the data is not on this machine."""
    return worker_of(spec.task).image_counts(spec.data)
