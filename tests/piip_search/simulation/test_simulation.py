"""Searches on tables: the same search as on networks, on workers that are not there."""

import itertools
import json
from pathlib import Path

import pytest

from piip_search.config import SearchSpec, parse_spec
from piip_search.ledger import Ledger
from piip_search.search.search import Search
from piip_search.simulation.simulation import Simulation
from piip_search.simulation.table import Table
from piip_search.simulation.table_design import TableDesign
from piip_workers.runners import simulated

EPOCHS = (1, 3, 9)


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six choices of three: what is dear is good, and the first epoch says less of it than the third."""
    lines = [
        ",".join(
            [
                *(f"choice:{name}" for name in "abcdef"),
                "cost:work",
                *(f"loss:error@{e}" for e in EPOCHS),
                *(f"seconds@{e}" for e in EPOCHS),
            ]
        )
    ]
    for number, row in enumerate(itertools.product(range(3), repeat=6)):
        work = 1 + sum(row)
        error = 0.9 - 0.05 * sum(row) - 0.03 * (row[0] == 2) + 0.002 * (number * 7919 % 11)
        early = [min(1.0, error + 0.3 / e + 0.01 / e * (number * 104729 % 7)) for e in EPOCHS[:-1]]
        lines.append(",".join(map(str, [*row, work, *early, error, *(10 * work * e for e in EPOCHS)])))
    file = tmp_path_factory.mktemp("table") / "table.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture
def table(path: Path) -> Table:
    return Table.read(path)


def played(spec: SearchSpec, **changes: object) -> SearchSpec:
    base = {
        "limit": {"gmacs": [5, 9]},
        "fidelity": {"epochs": 9},
        "schedule": {"rungs": [1, 3]},
        "budget": {"trials": 40},
    }
    return parse_spec({**spec.model_dump(mode="json"), **base, **changes})


def simulate(
    simulation: Simulation, cluster: simulated.Cluster, ledger: Ledger | None = None, kill_after: int | None = None
) -> tuple[Search, simulated.SimulationResult | None]:
    clock = simulated.Clock()
    search = simulation.open("run", ledger, clock=clock)

    def changed() -> None:
        if kill_after is not None and len(search.evaluations) - search.replayed >= kill_after:
            raise KeyboardInterrupt

    try:
        return search, simulated.run(search, simulation, cluster, clock, changed)
    except KeyboardInterrupt:
        return search, None


def test_a_simulation_finds_good_designs_of_every_tier(spec: SearchSpec, table: Table) -> None:
    simulation = Simulation.of(played(spec), table)
    search, _ = simulate(simulation, simulated.Cluster(workers=4))
    assert search.ending == "the budget of trials is spent"
    for tier in (5.0, 9.0):
        assert simulation.share(search, tier) > 0.4  # a handful of designs a tier is finished
        best = search.fronts()[0 if tier == 5 else 1].best
        assert best is not None
        assert search.objectives.losses([best])[0, 0] < simulation.best(tier) + 0.12
    # A low rung is not mistaken for an end: errors fall on the way, so none on the front is better than the table says.
    for evaluation in search.fronts()[-1].evaluations:
        place = simulation.place(evaluation.candidate.design)
        assert search.objectives.losses([evaluation])[0, 0] == pytest.approx(table.losses["error"][place])


def test_the_clock_counts_rungs_from_where_they_paused(spec: SearchSpec, table: Table) -> None:
    simulation = Simulation.of(played(spec, sampler="random"), table)
    search, done = simulate(simulation, simulated.Cluster(workers=1))
    assert done is not None
    furthest = {e.candidate.design: e.candidate.fidelity.epochs for e in search.evaluations}
    expected = sum(simulation.seconds_until(design, epochs) for design, epochs in furthest.items())
    assert done.seconds == done.busy == pytest.approx(expected)
    _, quick = simulate(simulation, simulated.Cluster(workers=8))
    assert quick is not None
    assert done.seconds / 8 < quick.seconds < done.seconds / 3


def test_failures_stragglers_and_preemption_stop_nothing(spec: SearchSpec, table: Table) -> None:
    simulation = Simulation.of(played(spec, sampler="random", budget={"trials": 200}), table)
    cluster = simulated.Cluster(workers=16, failures=0.1, stragglers=0.1, preemptions=0.1)
    search, done = simulate(simulation, cluster)
    assert done is not None
    begun = len({e.candidate.design for e in search.evaluations})
    assert begun == 200
    assert 8 <= len(search.failures) <= 50
    assert 8 <= done.preempted <= 60
    assert 8 <= done.stragglers <= 60
    assert not search.running
    calm = simulate(simulation, simulated.Cluster(workers=16))[1]
    assert calm is not None
    assert done.busy > calm.busy


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["piip", "random"])
@pytest.mark.parametrize("kill_after", [1, 9, 33, 50])
def test_a_killed_simulation_goes_on_with_the_same_promotions(
    spec: SearchSpec, table: Table, tmp_path: Path, kill_after: int, sampler: str
) -> None:
    simulation = Simulation.of(played(spec, sampler=sampler), table)
    undisturbed, _ = simulate(simulation, simulated.Cluster())
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", read_design=TableDesign.from_dict)
    simulate(simulation, simulated.Cluster(), ledger, kill_after)
    search, done = simulate(simulation, simulated.Cluster(), ledger)
    assert done is not None
    assert search.replayed == kill_after
    assert [e.candidate for e in search.evaluations] == [e.candidate for e in undisturbed.evaluations]


@pytest.mark.slow
def test_equal_seeds_rehearse_equally_and_others_do_not(spec: SearchSpec, table: Table) -> None:
    cluster = simulated.Cluster(workers=5, failures=0.1)
    first, second, other = (
        [e.candidate for e in simulate(Simulation.of(played(spec, seed=seed), table), cluster)[0].evaluations]
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_hours_are_the_virtual_ones(spec: SearchSpec, table: Table) -> None:
    simulation = Simulation.of(played(spec, sampler="random", budget={"trials": 500, "hours": 1}), table)
    search, done = simulate(simulation, simulated.Cluster(workers=2))
    assert done is not None
    assert search.ending == "the budget of hours is spent"
    assert 3600 <= done.seconds < 3600 + 10 * 9 * 9


@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        ({}, {"loss": "accuracy"}, "no loss 'accuracy'; it has error"),
        ({}, {"cost": "time"}, "no cost 'time'; it has work"),
        ({"limit": {"gmacs": [0.5, 5]}}, {}, "no design of the table has a work of 0.5 or less; it goes from 1 to 13"),
        ({"schedule": {"rungs": [2]}}, {}, "after 2, 9 epochs, and the table has it after 1, 3, 9"),
        ({"fidelity": {"epochs": 12}, "schedule": None}, {}, "after 12 epochs, and the table has it after 1, 3, 9"),
    ],
)
def test_what_cannot_be_simulated(
    spec: SearchSpec, table: Table, changes: dict[str, object], names: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Simulation.of(played(spec, **changes), table, **names)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"failures": 1.0}, {"stragglers": -0.1}, {"preemptions": 2.0}])
def test_what_no_cluster_is_like(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"workers must be at least 1|give a number from 0"):
        simulated.Cluster(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("choice:a,cost:c,loss:l@two", "1,1,1", "after the @ stand epochs, a number greater than 0"),
        ("choice:a,cost:c,loss:l@2,seconds@2", "1,1,1,soon", "line 2, seconds@2: a number of at least 0 is needed"),
        ("choice:a,cost:c,loss:l", "1,1,1", "loss:l is equal for all designs"),
    ],
)
def test_tables_that_cannot_be_played_on(spec: SearchSpec, tmp_path: Path, header: str, row: str, message: str) -> None:
    file = tmp_path / "table.csv"
    other = row if header[-6:] == "loss:l" else row.replace("1,1,1", "2,1,2")
    file.write_text("\n".join([header, row, other]), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Simulation.of(played(spec, schedule=None, fidelity={"epochs": 2}), Table.read(file))


def test_losses_below_zero_missing_ones_and_costs_of_nothing_are_played(spec: SearchSpec, tmp_path: Path) -> None:
    """Log likelihoods, of which some could not be measured; costs beyond what 64 bits hold in 10^-9."""
    file = tmp_path / "table.csv"
    rows = [
        f"{a},{b},{0 if a == b == 0 else (1 + a + b) * 1e11},{'' if a == 3 else -10 - a + 0.1 * b}"
        for a, b in itertools.product(range(6), repeat=2)
    ]
    file.write_text("\n".join(["choice:a,choice:b,cost:c,loss:l", *rows]), encoding="utf-8")
    settings = {"schedule": None, "budget": {"trials": 36}, "limit": {"gmacs": [3e11, 1.1e12]}}
    simulation = Simulation.of(played(spec, **settings), Table.read(file))
    search, _ = simulate(simulation, simulated.Cluster())
    assert len(search.evaluations) == 36
    assert {e.error for e in search.failures} == {"the table has no loss for this design"}
    assert len(search.failures) == 6
    best = search.fronts()[-1].best
    assert best is not None
    assert simulation.loss_of(best) == pytest.approx(-15.0) == simulation.best(1.1e12)
    assert 0 < search.fronts()[-1].hypervolume <= 1
    assert simulation.share(search, 1.1e12) == pytest.approx(1.0)


def test_the_command(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: SearchSpec) -> None:
    from piip_search.cli.commands import app

    content = played(spec, sampler="random").model_dump(mode="json")
    space = tmp_path / "space.yaml"
    space.write_text(json.dumps(content), encoding="utf-8")
    command = ["simulate", str(space), "--table", str(path), "--workers", "4"]
    app([*command, "--failures", "0.1"], standalone_mode=False)
    text = capsys.readouterr().out
    assert "Against the whole table" in text
    assert "the budget of trials is spent: 40 of 1 epochs" in text
    app([*command, "--json", "--tiers", "6,13", "--trials", "20", "--seed", "3"], standalone_mode=False)
    facts = json.loads(capsys.readouterr().out)
    assert facts["evaluations"]["1"] == 20
    assert [tier["tier"] for tier in facts["tiers"]] == [6, 13]
    assert all(0 <= tier["regret"] < 0.4 for tier in facts["tiers"])
    app([*command, "--quiet", "--tiers", "6,13", "--trials", "20", "--seed", "3"], standalone_mode=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        [f"{tier['tier']:g}", f"{tier['best']:.4g}", f"{tier['hypervolume']:.1%}"] for tier in facts["tiers"]
    ]
    with pytest.raises(ValueError, match="--tiers must be numbers with commas"):
        app([*command, "--tiers", "6;13"], standalone_mode=False)
