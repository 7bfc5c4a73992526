"""Numbers and sentences of reports, for all formats."""

from collections.abc import Callable
from typing import Any

from piip_dashboards.report.content import SearchReport
from piip_dashboards.report.designs import Chosen, cheapest_published
from piip_search.analysis.audit import FEWEST_RANKED
from piip_search.analysis.effects.matched import plus_minus
from piip_search.analysis.health import FEWEST_LEARNT
from piip_search.analysis.rank_correlation import Interval
from piip_search.architecture import Architecture
from piip_search.units import gigabytes, quantity


def metric(value: float) -> str:
    return f"{value:.4f}"


def short(value: float) -> str:
    """A number with four digits."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def tau(value: Interval | None) -> str:
    return "–" if value is None else str(value)


def gain(value: Interval | float | None) -> str:
    """A gain with half of its interval."""
    return "–" if value is None else plus_minus(value)


def evidence(effect: Any, most: int = 4) -> str:
    """The pairs of trials behind an effect."""
    pairs = [f"{pair.less} → {pair.more}" for pair in effect.pairs[:most]]
    return ", ".join(pairs) + (f" and {len(effect.pairs) - most} more" if len(effect.pairs) > most else "")


def status(report: SearchReport) -> str:
    """The state of the search in one or two sentences."""
    done, failed, unfinished = (report.counts[name] for name in ("done", "failed", "unfinished"))
    if not done + failed + unfinished:
        return "Nothing has been proposed yet."
    said = f"{done:,} evaluations done, {failed:,} failed."
    if unfinished:
        said += f" {unfinished:,} unfinished when this was written: the search may go on, and its figures change."
    if not done and failed:
        said += " Nothing was measured: the failures below say why."
    return said


def summary(report: SearchReport) -> list[str]:
    """The results, one sentence a line; first each tier against its baselines, where there are any."""
    if not report.front:
        return []
    best = report.best
    lines = [sentence(one.said) for one in report.compared]
    lines += [f"The best design reaches {report.metric} {metric(best.value)} at {report.axis.format(best.cost, 4)}."]
    for chosen in report.chosen:
        near = next((why for why in chosen.why if why.startswith("cheapest within")), None)
        if near and chosen.trial != best.trial:
            cost = next(row.cost for row in report.front if row.trial == chosen.trial)
            lines.append(f"The {near} costs {report.axis.format(cost, 4)}, {percent(cost / best.cost)} of that.")
    if report.importance.weights:
        lines.append(sentence(report.importance.said))
    return lines


def sentence(words: str) -> str:
    """A sentence with a capital and a full stop."""
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


def heading(words: str) -> str:
    return words[:1].upper() + words[1:]


CHANCE_NOTE = (
    "Each line compares designs of this search that are equal but for the one choice; intervals are at 90 %, over "
    "settings, from three on. The search chose what was measured, and of many such lines one in ten lies off zero by "
    "chance. At equal cost: less what the difference in cost alone brings, by the trend over all finished designs."
)
SHUFFLED = (
    "The loss of accuracy in predicting the metric of held-out designs, after cost is subtracted, when one kind of "
    "choice is shuffled among them; the thin line is the deviation between five parts of the designs."
)


def no_audit(report: SearchReport) -> str:
    return (
        f"The ledger holds no audit of this run: whether its proxies rank designs as a longer training would is not "
        f"known. Measure it with: piip-search audit {report.run}"
    )


def no_belief() -> str:
    return f"The surrogate is judged from {FEWEST_LEARNT} finished designs on."


def no_published(chosen: Chosen) -> str:
    begin = quantity(cheapest_published(Architecture.parse(chosen.architecture)), "GMACs")
    return f"No published design costs about as much: the authors' begin at {begin}."


REPORT_FILTERS: dict[str, Callable[..., str]] = {
    "metric": metric,
    "short": short,
    "percent": percent,
    "gigabytes": gigabytes,
    "tau": tau,
    "gain": gain,
    "evidence": evidence,
    "sentence": sentence,
    "heading": heading,
}
REPORT_WORDS: dict[str, Any] = {
    "status": status,
    "summary": summary,
    "chance": CHANCE_NOTE,
    "shuffled": SHUFFLED,
    "no_audit": no_audit,
    "no_belief": no_belief,
    "no_published": no_published,
    "fewest": FEWEST_RANKED,
}
