"""A search space with its data, looked at before anything starts: all that is wrong is said at once."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from piip_search.api.extras import extra
from piip_search.api.notices import ignore
from piip_search.architecture.backbones import backbone_named, has_weights, weight_file, weights_hint
from piip_search.config import SearchSpec, SpecError
from piip_search.errors import UserError
from piip_search.export.mmdet.detectors import DETECTOR_CONFIGS, DetectorConfig
from piip_search.file_paths import located
from piip_search.search.feasible import feasible_designs


def checked_data(
    spec: SearchSpec,
    source: Path | str,
    told: Callable[[str], None] = ignore,
    noted: Callable[[str], None] = ignore,
) -> None:
    """Looks at the limit, the detector, the weights and the data of a space; all problems are reported at once.

    Args:
        spec: The space.
        source: What the message names.
        told: Is told how far it is.
        noted: Is told what of the data is read otherwise than a user may think.

    Raises:
        SpecError: Something is wrong.
    """
    problems: list[str] = []
    try:
        feasible_designs(spec, source)
    except SpecError as error:
        problems += error.problems
    detector_config = _detector_config(spec)
    problems += [*_missing_weights(spec), *([detector_config] if isinstance(detector_config, str) else [])]
    problems += _data_problems(spec, None if isinstance(detector_config, str) else detector_config, told, noted)
    if problems:
        raise SpecError(source, problems)


def usable_data(spec: SearchSpec, told: Callable[[str], None], noted: Callable[[str], None]) -> None:
    """Looks at the data of a search that ran before.

    Args:
        spec: Spec of the search.
        told: Is told how far it is.
        noted: Is told what is read otherwise than a user may think.

    Raises:
        UserError: It cannot be used any more.
    """
    detector_config = _detector_config(spec)
    problems = (
        [detector_config] if isinstance(detector_config, str) else _data_problems(spec, detector_config, told, noted)
    )
    if problems:
        raise UserError("\n  ".join(["the data of this run cannot be used:", *problems]))


def _detector_config(spec: SearchSpec) -> DetectorConfig | str:
    """The detector, or what is wrong with it; one that only mmdet knows is read, in seconds."""
    detector_config = DETECTOR_CONFIGS.get(spec.training.detector)
    if detector_config is None:
        with extra("detection"):
            from piip_workers.tasks.detection.detectors import detector_config_of
        try:
            detector_config = detector_config_of(spec.training)
        except ValueError as error:
            return str(error)
    if spec.metric.startswith("segm") and not detector_config.masks:
        return (
            f"metric: {spec.metric} needs a detector with masks, and {detector_config.base} has none; choose a bbox_mAP"
        )
    return detector_config


def _data_problems(
    spec: SearchSpec, detector_config: DetectorConfig | None, told: Callable[[str], None], noted: Callable[[str], None]
) -> list[str]:
    """What is wrong with the data, or with sound data for the detector."""
    from piip_workers.tasks.detection import data

    masks = detector_config.masks if detector_config is not None else spec.metric.startswith("segm")
    report = data.examine(spec.data, masks, told)
    if report.problems or detector_config is None:
        return report.problems
    report.problems += data.unsuited(spec.data, spec.metric, spec.training.detector, masks, smallest_box(spec))
    for notice in () if report.problems else report.notices:
        noted(notice)
    return report.problems


def smallest_box(spec: SearchSpec) -> tuple[float, float]:
    """Pixels that the long and the short side of an image are fitted into in the smallest design."""
    jitter = spec.training.scale_jitter
    side = min(spec.space.resolutions) * spec.fidelity.image_scale * min(1.0, jitter[0] if jitter else 1.0)
    return side, side * spec.training.short_side


def _missing_weights(spec: SearchSpec) -> list[str]:
    """Backbones of the space whose pre-trained weights are not there; a hub is asked only when they are needed."""
    place = spec.training.pretrained
    problems = []
    for name in spec.space.backbones if place is not None else ():
        backbone = backbone_named(name)
        if not has_weights(backbone):
            problems.append(f"training.pretrained: {name} has no pre-trained weights; leave it out of space.backbones")
        elif place == "hub" and not backbone.timm_name:
            hint = weights_hint(backbone, Path("weights"))
            problems.append(f"training.pretrained: {name} is on no hub of timm's; {hint}, and name that folder")
        elif place != "hub" and weight_file(backbone, Path(str(place))) is None:
            problems.append(
                f"training.pretrained: no weights of {name} in {located(str(place))}; "
                f"{weights_hint(backbone, Path(str(place)))}"
            )
    return problems


def looked_through(spec: SearchSpec, told: Callable[[str], None], noted: Callable[[str], None]) -> str:
    """Decodes the validation images and some of the training images, and reads all of them, once for each file.

    Args:
        spec: Which data, and how many of its images are measured on.
        told: Is told how far it is.
        noted: Is told of training images that others take the place of, and of images that are in both parts.

    Returns:
        The fingerprint of the data.

    Raises:
        UserError: A validation image cannot be decoded, or most of the training images.
    """
    from piip_workers.tasks.detection import data

    problems = data.undecodable_images(
        spec.data,
        spec.training.val_images,
        lambda done, total: told(f"looking at validation image {done:,} of {total:,}"),
    )
    if problems:
        raise UserError("\n  ".join(["no candidate could be measured with these validation images:", *problems]))
    told("looking at training images")
    report = data.undecodable_training_images(spec.data, data.SAMPLE)
    if report.problems:
        raise UserError("\n  ".join(["no candidate could be trained with these images:", *report.problems]))
    fingerprint = data.fingerprint(
        spec.data, lambda done, total: told(f"looking at the contents of image {done:,} of {total:,}")
    )
    for notice in (*report.notices, *data.shared_images(spec.data)):
        noted(notice)
    return fingerprint


@contextmanager
def watched_images(spec: SearchSpec, noted: Callable[[str], None]) -> Iterator[None]:
    """Decodes all training images meanwhile, at the lowest priority, and tells of those that cannot be.

    Args:
        spec: Which data.
        noted: Is told, from another thread.
    """
    from piip_workers.tasks.detection import data

    def look() -> None:
        with suppress(OSError, AttributeError):  # where a system does not know priorities of threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        report = data.undecodable_training_images(spec.data, None, ended.is_set)
        for line in (*report.problems, *report.notices):
            noted(line)

    counts = data.image_counts(spec.data)
    if counts is None or counts[0] <= data.SAMPLE:  # all were looked at before
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
    """The spec with that many trials, if any are given."""
    if trials is None:
        return spec
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": trials})})


def image_counts(spec: SearchSpec) -> tuple[int, int] | None:
    """Training and validation images of the data; None where it is not here."""
    from piip_workers.tasks.detection import data

    return data.image_counts(spec.data)
