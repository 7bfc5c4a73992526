"""Exports the operating points of a parent: one set of weights, many designs."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.evaluators import PREPARED_FOLDER
from piip_search.api.export import ExportOptions
from piip_search.api.extras import extra
from piip_search.api.ledgers import log_action
from piip_search.api.notices import Notify, ignore
from piip_search.api.runs import history_of
from piip_search.config.evaluator import SharedSection
from piip_search.errors import ChoiceError, UserError
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import pareto_front
from piip_search.export import prepared_folder
from piip_search.export.folder import PROOF, PROOF_LOG, README
from piip_search.search.history import RunHistory
from piip_search.units import quantity

if TYPE_CHECKING:  # these import the database and torch, which a message need not wait for
    from piip_search.ledger import Ledger
    from piip_search.models.elastic import OperatingPoint
    from piip_workers.networks.proof import Proof

ELASTIC = "elastic"
"""Word for all operating points of a parent in one folder."""
ELASTIC_FORMATS = ("torch", "onnx")
"""Formats of an elastic network."""


DIGEST = re.compile(r"[0-9a-f]{16}")
"""Digest of a preparation."""


@dataclass(frozen=True)
class ElasticExport:
    """An exported elastic network.

    Attributes:
        parent: Backbones of the parent.
        folder: Folder of the network.
        points: Operating points, cheapest first.
        proof: Checks of the folder; empty without a proof.
    """

    parent: str
    folder: Path
    points: "tuple[OperatingPoint, ...]"
    proof: "Proof"

    @property
    def summary(self) -> str:
        """One line about the written files."""
        checks, failures = self.proof.checks, self.proof.failures
        proved = f"; proof: {len(checks) - len(failures)} of {len(checks)} checks passed" if checks else "; not proved"
        count = f"{len(self.points)} operating point{'' if len(self.points) == 1 else 's'}"
        return f"wrote {self.folder}: {count} of {self.parent} with one set of weights{proved}"

    def to_dict(self) -> dict[str, Any]:
        """The export as plain data."""
        from piip_search.models.elastic import rows_of

        return {
            "parent": self.parent,
            "folder": str(self.folder),
            "points": rows_of(self.points),
            "checks": len(self.proof.checks),
            "failures": list(self.proof.failures),
        }


def export_elastic(
    ledger: "Ledger",
    run: str,
    out: Path,
    home: Path,
    options: ExportOptions,
    progress: Notify = ignore,
) -> tuple[ElasticExport, ...]:
    """Writes the parents of a run with the front of their scored designs as operating points.

    The points have the parent's weights as they are, and the metrics that these reached. A run with several parents
    gets a folder for each.

    Args:
        ledger: Ledger of the run.
        run: Name of the run.
        out: Folder to write.
        home: Home folder with the parents.
        options: Formats (torch, onnx) and whether the files are tested; other settings have no meaning.
        progress: Called with the current step.

    Raises:
        LedgerError: The ledger has no such run.
        ChoiceError: The run has no parent, or nothing was scored with it.
        ExportError: The folder cannot take the network.
        UserError: A format is unknown, the parent is not in the home folder, or an extra is missing.
    """
    history = history_of(ledger, run)
    if not isinstance(history.spec.evaluator, SharedSection):
        raise ChoiceError(
            f"{ELASTIC} needs designs that share weights (evaluator shared), and run {run} has the evaluator "
            f"{history.spec.evaluator.kind}; export best, or all"
        )
    unknown = [name for name in options.formats if name not in (*ELASTIC_FORMATS, "all")]
    if unknown:
        raise UserError(f"{ELASTIC} is written as {' and '.join(ELASTIC_FORMATS)}, not as {unknown[0]}")
    done = [step for step in ledger.preparations(run) if step.state == "done"]
    scored = [e for e in history.evaluations if e.candidate.fidelity == history.spec.rungs[0] and e.status == "done"]
    if not done or not scored:
        raise ChoiceError(f"run {run} has no scores with a parent's weights yet")
    digest = done[-1].digest
    if not DIGEST.fullmatch(digest):  # whoever may write a ledger may name any folder in it
        raise UserError(f"run {run} names {digest!r} as the digest of its parent, which is none; prepare it again")
    with extra("models"):
        from piip_workers.evaluators.shared import parent_of, parents_of

        parents = parents_of(home.resolve() / PREPARED_FOLDER / digest)
    exports, axis = [], history.spec.bounds.cost_axis
    for parent in parents:
        mine = [e for e in scored if parent_of(e.candidate.architecture, parents, axis) is parent]
        if not mine:
            continue
        name = parent.name
        folder = out / name if len(parents) > 1 else out
        progress(f"exporting {name}")
        export = _exported(history, run, parent.folder, name, mine, folder, options)
        exports.append(export)
        log_action(ledger, "exported", run, options.token, design=f"{ELASTIC} {name}", folder=str(folder.resolve()))
    return tuple(exports)


def _exported(
    history: RunHistory,
    run: str,
    parent: Path,
    name: str,
    scored: Sequence[Evaluation],
    folder: Path,
    options: ExportOptions,
) -> ElasticExport:
    from piip_search.models.elastic import ELASTIC_POINTS, ELASTIC_WEIGHTS
    from piip_workers.networks.proof import Proof
    from piip_workers.shared import elastic

    points, proof = _points(history, scored), Proof()
    with_onnx = {"onnx", "all"} & set(options.formats)
    files = (elastic.PROGRAM, ELASTIC_POINTS, ELASTIC_WEIGHTS, elastic.ONNX_FOLDER)
    with prepared_folder(folder, files):
        rises, convention = history.objectives.metrics[0].rises, history.spec.limit.convention
        about = {"run": run, "parent": name, "convention": convention, "rises": rises}
        network = elastic.write_elastic(parent, points, folder, about)
        if options.proof:
            elastic.prove_elastic(parent, network, folder, proof)
        if with_onnx:
            with extra("onnx"):
                written = elastic.write_elastic_onnx(network, folder, folder / PROOF_LOG, elastic.strides_of(parent))
            if options.proof:
                elastic.prove_elastic_onnx(network, written, proof)
        if options.proof:
            proof.write(folder / PROOF)
        device = str(json.loads((folder / ELASTIC_POINTS).read_text(encoding="utf-8"))["device"])
        (folder / README).write_text(_readme(run, name, network.points, device, bool(with_onnx)), encoding="utf-8")
    return ElasticExport(name, folder, network.points, proof)


def _points(history: RunHistory, scored: Sequence[Evaluation]) -> "tuple[OperatingPoint, ...]":
    """The front of scored designs, at the image sizes at which they were scored."""
    from piip_search.models.elastic import OperatingPoint

    objectives, pricing = history.objectives, history.spec.pricing
    front = pareto_front(scored, objectives, max(objectives.cost(evaluation) for evaluation in scored))
    scale = history.spec.fidelity.image_scale
    found = []
    for evaluation in front.evaluations:
        design = evaluation.candidate.architecture.scaled(scale)
        cost = pricing.price(design)
        value = evaluation.metrics[objectives.metric]
        found.append(OperatingPoint(design, objectives.metric, value, cost.gmacs, cost.mparams))
    return tuple(sorted(found, key=lambda point: point.gmacs))


def _readme(run: str, name: str, points: "Sequence[OperatingPoint]", device: str, onnx: bool) -> str:
    """The README of the folder."""
    rows = [
        f"| {place} | `{point.design.name}` | {point.value:.4f} | {point.gmacs:.4g} | {point.mparams:.4g} "
        f"| {point.milliseconds:.3g} |"
        for place, point in enumerate(points)
    ]
    lines = [
        f"# One set of weights of {name}, {len(points)} operating points",
        "",
        f"Written by piip-search from the run {run}. All points have the weights of one training, and the measured",
        f"{points[0].metric} is what these weights reach as they are. Tune a point, or train it alone, to gain more.",
        f"The milliseconds are those of one image on this device: {device}.",
        "",
        f"| point | design | {points[0].metric} | GMACs | M params | ms |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        "```python",
        "from pathlib import Path",
        "from piip_search.models.elastic import load_elastic",
        "",
        'network = load_elastic(Path("."))',
        f'network.use("<={quantity(points[-1].gmacs, "G", 4)}")  # or "<=20 ms", "best", a position, or a design',
        "maps = network(images)",
        "```",
        "",
        "`weights.safetensors` also has the layers behind the network, such as neck and head, by the parent's keys.",
    ]
    if onnx:
        lines.append("`onnx/` has one file a point; all of them read `onnx/weights.bin`.")
    return "\n".join([*lines, ""])
