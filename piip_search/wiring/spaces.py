"""A search space with its data, looked at before anything starts: all that is wrong is said at once."""

from collections.abc import Callable
from pathlib import Path

from piip_search.backbones import backbone_named, has_weights, weight_file, weights_hint
from piip_search.export.readers import READERS
from piip_search.legal import legal_designs
from piip_search.spec import SearchSpec, SpecError, load_spec
from piip_search.wiring.extras import UserError, extra


def checked_spec(path: Path, trials: int | None) -> SearchSpec:
    """The spec, once nothing is wrong with it, its limit or its data; all problems are reported at once."""
    from piip_workers import data

    spec = load_spec(path)
    problems: list[str] = []
    try:
        legal_designs(spec, path)
    except SpecError as error:
        problems += error.problems
    unsound = data.check(spec.data)
    problems += [*unsound, *_missing_weights(spec), *_detector_problems(spec, sound=not unsound)]
    if problems:
        raise SpecError(path, problems)
    return with_trials(spec, trials)


def _detector_problems(spec: SearchSpec, sound: bool) -> list[str]:
    """What is wrong with the detector, or with sound data for it; one that only mmdet knows is read, in seconds."""
    from piip_workers import data

    name = spec.training.detector
    reader = READERS.get(name)
    if reader is None:
        with extra("detection"):
            from piip_workers.detectors import reader_of
        try:
            reader = reader_of(spec.training)
        except ValueError as error:
            return [str(error)]
    if spec.metric.startswith("segm") and not reader.masks:
        return [f"metric: {spec.metric} needs a detector with masks, and {reader.base} has none; choose a bbox_mAP"]
    return data.unsuited(spec.data, spec.metric, name, reader.masks) if sound else []


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
                f"training.pretrained: no weights of {name} in {place}; {weights_hint(backbone, Path(str(place)))}"
            )
    return problems


def check_images(spec: SearchSpec, fingerprint: str, told: Callable[[str], None]) -> None:
    """Decodes the validation images, once for a data set.

    Args:
        spec: Which data, and how many of its images are measured on.
        fingerprint: Of the data.
        told: Is told how far it is.

    Raises:
        UserError: Some cannot be decoded.
    """
    from piip_workers import data

    problems = data.undecodable_images(
        spec.data, fingerprint, spec.training.val_images,
        lambda done, total: told(f"looking at validation image {done:,} of {total:,}"),
    )  # fmt: skip
    if problems:
        raise UserError("\n  ".join(["no candidate could be measured with these validation images:", *problems]))


def with_trials(spec: SearchSpec, trials: int | None) -> SearchSpec:
    """The spec with that many trials, if any are given."""
    if trials is None:
        return spec
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": trials})})


def image_counts(spec: SearchSpec) -> tuple[int, int] | None:
    """Training and validation images of the data; None where it is not here."""
    from piip_workers import data

    return data.image_counts(spec.data)
