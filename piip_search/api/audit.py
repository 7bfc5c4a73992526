"""Audits the proxies of a run: trains some of its designs again, and for longer."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from piip_search.analysis.audit import LONGER, Audit, AuditPlan, audit, audit_candidates
from piip_search.analysis.health import merge_findings
from piip_search.api.checks import looked_through, usable_data
from piip_search.api.evaluators import evaluator_of, prepared_first
from piip_search.api.extras import extra, find_trainer
from piip_search.api.notices import Notify, ignore
from piip_search.api.programs import with_trusted_programs
from piip_search.api.runners import Place, ReadySearch, check_place, measurement, runner
from piip_search.api.runs import history_of
from piip_search.api.stores import open_tracker
from piip_search.config import SearchSpec
from piip_search.config.evaluator import SharedSection
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import Candidate, trials_folder
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.ledger import Ledger


@dataclass(frozen=True)
class AuditOptions:
    """The settings of an audit.

    Attributes:
        designs: Number of designs to draw from each tier.
        seeds: Number of trainings of each proxy, including the run's own; one where designs share a training.
        epochs: Epochs of the longer training; `LONGER` times the proxy's by default. Where designs share a training,
            those of a training alone; `fidelity.epochs` by default.
        data_fraction: Share of the images in the longer training; the proxy's by default.
        image_scale: Factor on the image sizes of the longer training; the proxy's by default.
        trust: Whether programs that the run names may be run, whoever wrote them.
    """

    designs: int = 12
    seeds: int = 2
    epochs: int | None = None
    data_fraction: float | None = None
    image_scale: float | None = None
    trust: bool = False


@dataclass(frozen=True)
class AuditRun(ReadySearch):
    """An audit that is ready to run.

    Attributes:
        plan: Plan of the audit.
    """

    plan: AuditPlan

    @property
    def tiers(self) -> list[Audit]:
        """Results of the measurements so far, cheapest tier first."""
        return audit(self.search.evaluations, self.search.objectives, self.search.spec.bounds.tiers, self.plan)


def open_audit(
    ledger: "Ledger",
    run: str,
    home: Path,
    options: AuditOptions = AuditOptions(),
    on: Place = Place.RAY,
    address: str | None = None,
    store: str | None = None,
    store_needed: bool = False,
    take_over: bool = False,
    notify: Notify = ignore,
    progress: Notify = ignore,
) -> AuditRun:
    """Opens an audit, or resumes an interrupted one, without training.

    Args:
        ledger: Ledger of the run, which also gets the audit's evaluations.
        run: Name of the run.
        home: Home folder.
        options: Settings of the audit.
        on: Place where candidates are measured.
        address: Address of a Ray cluster; None starts one here.
        store: MLflow store that mirrors the audit; None for none.
        store_needed: Whether a missing MLflow is an error.
        take_over: Whether to go on with another owner's audit, and to take it from a process that drives it.
        notify: Called with notes about data and machines.
        progress: Called with the current step.

    Returns:
        The audit, whose `drive` measures its candidates.

    Raises:
        LedgerError: The ledger has no such run, or another process drives the audit.
        ClusterError: The cluster cannot be joined, or cannot run trials.
        UserError: The options do not fit the run, its data cannot be used, an extra is missing, or the run names a
            program that is not trusted.
    """
    check_place(on, address)
    if ledger.search(run).holds_baselines:
        raise UserError(f"run {run} holds the baselines of a search, which no proxy stands for; audit that search")
    history = history_of(ledger, run)
    plan = _plan(history, options)
    candidates = _candidates(history, run, plan)
    for finding in merge_findings(history.objectives.measured(history.representatives)):
        notify(f"note: {finding}")
    spec = with_trusted_programs(ledger, run, history.spec, home, options.trust)
    with extra(spec.known_task.extra):
        find_trainer(spec.known_task, address)
    progress("checking the data")
    data = _data_fingerprint(spec, progress, notify)
    recipe = history.spec.recipe(data)
    progress("starting")
    drive, usage, at_once = runner(on, address, spec, home, notify)
    tracker = open_tracker(store, home, store_needed, notify)
    from piip_search.ledger.environment import circumstances
    from piip_search.search.policy import FixedPolicy
    from piip_search.search.search import Search

    name, policy, uid = plan.run_name(run), FixedPolicy(candidates), ledger.search(run).uid
    search = Search(
        name,
        history.spec,
        policy,
        ledger,
        recipe,
        tracker,
        question=plan.digest,
        circumstances=circumstances(),
        audit_of=uid,
        take_over=take_over,
    )
    alone = measurement(_on_its_way(spec, plan), home, run, search)
    measure, preparation = evaluator_of(spec, alone, search, data, home, on)
    drive = prepared_first(drive, preparation, notify)
    return AuditRun(search, partial(drive, search, measure), usage, at_once, trials_folder(home, run, recipe), plan)


def _plan(history: RunHistory, options: AuditOptions) -> AuditPlan:
    """The plan of an audit, whose longer training must differ from the proxy."""
    proxy, evaluator = history.spec.fidelity.build(), history.spec.evaluator
    shared = isinstance(evaluator, SharedSection)
    reference = replace(
        proxy,
        epochs=options.epochs or (1 if shared else LONGER) * max(1, proxy.epochs),
        data_fraction=options.data_fraction or proxy.data_fraction,
        image_scale=options.image_scale or proxy.image_scale,
        horizon=None,
        seeds=1,
    )
    if isinstance(evaluator, SharedSection):
        if reference.epochs <= evaluator.tune:
            raise UserError(
                f"designs are tuned for {evaluator.tune} epochs, so a training alone of {reference.epochs} would be "
                "taken for one of these; give more --epochs"
            )
        # A parent's weights have one seed.
        return AuditPlan(options.designs, 1, reference, history.spec.seed, evaluator.rungs(proxy)[1])
    if reference == proxy:
        raise UserError(f"the longer training is the proxy itself ({reference.epochs} epochs); give more --epochs")
    return AuditPlan(options.designs, options.seeds, reference, history.spec.seed)


def _candidates(history: RunHistory, run: str, plan: AuditPlan) -> list[Candidate]:
    """The candidates of an audit, at least one."""
    audited = history.representatives
    if plan.tuned is not None:  # all that were scored, not the best ones alone
        audited = [e for e in history.evaluations if e.candidate.fidelity == history.spec.rungs[0]]
    candidates = audit_candidates(audited, history.objectives, history.spec.bounds.tiers, plan)
    if not candidates:
        raise UserError(f"run {run} has no finished evaluation yet; nothing can be audited")
    return candidates


def _data_fingerprint(spec: SearchSpec, progress: Notify, notify: Notify) -> str:
    """Fingerprint of the data, after a check that they can still be used."""
    usable_data(spec, progress, notify)
    return looked_through(spec, progress, notify)


def _on_its_way(spec: SearchSpec, plan: AuditPlan) -> SearchSpec:
    """The spec with more frequent measurements: the curve of a longer training shows the value of a rung.

    The frequency of measurements changes no result of a training.
    """
    training = spec.training.model_copy(update={"measure_every": plan.measure_every})
    return spec.model_copy(update={"training": training})
