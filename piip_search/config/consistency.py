"""Checks that types cannot express: whether models, sizes and interactions of a search space fit each other."""

from collections.abc import Iterator
from typing import Any, cast, get_args

from piip_search.architecture import MAX_BRANCHES, Architecture, Branch, Interaction
from piip_search.architecture.backbones import Backbone, ConvNeXt, Transformer, backbone_named, with_patch
from piip_search.architecture.segments import Merge, most_interactions
from piip_search.config.baselines import baseline_problem
from piip_search.sections import closest, shortened
from piip_search.tasks import Task

MOST_TOKENS = 1024
"""Most tokens of a grid's side: larger costs overflow the integers of the cost arrays."""


def problems_of(content: dict[str, Any], task: Task) -> list[str]:
    """All inconsistencies, one line each.

    Args:
        content: Content of the file.
        task: Task that it names.
    """
    problems = [*_metric_problems(content, task), *_baseline_problems(content, task)]
    section = content.get("space")
    if not isinstance(section, dict):
        return problems
    models: dict[str, Backbone] = {}
    for place, name in _items(section, "backbones", str):
        try:
            models[name] = _resampled(backbone_named(name), section.get("patch"))
        except ValueError as error:
            problems.append(f"{place}: {error}")
    facts = list(models.values())
    sides = _items(section, "resolutions", int)
    for place, side in sides:
        problems += _side_problem(place, side, facts)
    most = max((count for _, count in _items(section, "branches", int) if count <= MAX_BRANCHES), default=1)
    if facts and not problems and section.get("pairing", "inverted") == "inverted":
        distinct = {side for _, side in sides}
        if most > min(len(facts), len(distinct)):
            problems.append(
                f"space.branches: {most} inverted branches need as many models and image sizes, got {len(facts)} "
                f"and {len(distinct)}; list more of them, or fewer branches"
            )
    problems += _merge_problems(section, facts, task)
    heads = section.get("heads", 16)
    for place, count in _items(section, "interactions", int):
        problems += _interaction_problem(place, count, facts, most, heads)
    return problems


def _resampled(model: Backbone, patch: object) -> Backbone:
    wanted = isinstance(patch, int) and not isinstance(patch, bool) and patch > 0
    return with_patch(model, cast(int, patch)) if wanted and isinstance(model, Transformer) else model


def _side_problem(place: str, side: int, models: list[Backbone]) -> list[str]:
    """Problems of a size that suits no model; a size that suits some is a choice for those."""
    patches = sorted({model.patch for model in models} or {16})
    if side > MOST_TOKENS * patches[0]:
        return [f"{place}: at most {MOST_TOKENS} patches of {patches[0]} px, got {shortened(side)}"]
    if any(side > 0 and side % patch == 0 for patch in patches):
        return []
    patch = patches[0]
    nearest = max(patch, round(side / patch) * patch)
    return [f"{place}: resolution must be a positive multiple of a patch of {patch} px, got {side}; nearest: {nearest}"]


def _baseline_problems(content: dict[str, Any], task: Task) -> Iterator[str]:
    """Entries that name nothing to compare with."""
    entries = content.get("baselines")
    for index, entry in enumerate(entries if isinstance(entries, list | tuple) else ()):
        problem = baseline_problem(entry, task) if isinstance(entry, str) else None
        if problem is not None:
            yield f"baselines[{index}]: {problem}"


def _metric_problems(content: dict[str, Any], task: Task) -> Iterator[str]:
    """Metrics that the task does not measure."""
    several = content.get("metrics")
    named = [("metric", content.get("metric"))]
    named += [("metrics", name) for name in several] if isinstance(several, list) else []
    known = [metric.name for metric in task.metrics]
    for place, name in named:
        if isinstance(name, str) and name not in known:
            yield f"{place}: unknown metric {name!r} of the task {task.name}{closest(name, known)}"


def _merge_problems(section: dict[str, Any], models: list[Backbone], task: Task) -> list[str]:
    chosen = _items(section, "merges", str)
    problems = [
        f"{place}: the task {task.name} cannot read what {name} gives; choose {', '.join(task.merges)}"
        for place, name in chosen
        if name in get_args(Merge) and name not in task.merges
    ]
    convolutional = [model.name for model in models if isinstance(model, ConvNeXt)]
    if convolutional and chosen and "pyramid" not in [name for _, name in chosen]:
        problems.append(
            f"space.merges: {convolutional[0]} can only be merged into a pyramid; add pyramid, or leave it out"
        )
    return problems


def _interaction_problem(place: str, count: int, models: list[Backbone], most: int, heads: object) -> list[str]:
    if count < 0 or most < 2 or not models:
        return []
    roomy = sorted(models, key=lambda model: (-most_interactions(model), -model.width))[:2]
    pair = sorted((roomy * 2)[:2], key=lambda model: -model.width)
    merge: Merge = "pyramid" if any(isinstance(model, ConvNeXt) for model in pair) else "linear"
    width = heads if type(heads) is int and heads > 0 else 16
    try:
        interaction = Interaction(count, width) if count else Interaction()
        Architecture(
            tuple(Branch(model.name, model.patch, None, 0, _changed_patch(model)) for model in pair), interaction, merge
        )
    except ValueError as error:
        return [f"{place}: no two backbones of this space can interact {count} times: {error}"]
    return []


def _changed_patch(model: Backbone) -> int | None:
    return None if model.patch == backbone_named(model.name).patch else model.patch


def _items(section: dict[str, Any], key: str, kind: type) -> list[tuple[str, Any]]:
    values = section.get(key)
    if not isinstance(values, list):
        return []
    return [
        (f"space.{key}[{index}]", value)
        for index, value in enumerate(values)
        if isinstance(value, kind) and not isinstance(value, bool)
    ]
