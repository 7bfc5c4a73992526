"""Searches on tables: the same search as on networks, on workers that are not there."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from piip_search.config import SearchSpec, parse_spec
from piip_search.ledger import Ledger
from piip_search.search.search import Search
from piip_search.simulation.simulation import Simulation
from piip_search.simulation.table import Table
from piip_search.simulation.table_design import TableDesign
from piip_workers.runners import simulated
from support import dominance

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
        ({}, {"losses": ["accuracy"]}, "no loss 'accuracy'; it has error"),
        ({}, {"costs": ["time"]}, "no cost 'time'; it has work"),
        ({"limit": {"gmacs": [0.5, 5]}}, {}, "no design of the table has a work of 0.5 or less; it goes from 1 to 13"),
        ({"schedule": {"rungs": [2]}}, {}, "after 2, 9 epochs, and the table has it after 1, 3, 9"),
        ({"fidelity": {"epochs": 12}, "schedule": None}, {}, "after 12 epochs, and the table has it after 1, 3, 9"),
    ],
)
def test_what_cannot_be_simulated(
    spec: SearchSpec, table: Table, changes: dict[str, object], names: dict[str, list[str]], message: str
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
    losses = simulation.losses_of(best)
    assert losses is not None
    assert losses[0] == pytest.approx(-15.0) == simulation.best(1.1e12)
    assert 0 < search.fronts()[-1].hypervolume <= 1
    assert simulation.share(search, 1.1e12) == pytest.approx(1.0)


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five choices of three, with two losses that disagree about one choice, in two units, and three costs."""
    lines = [
        "choice:a,choice:b,choice:c,choice:d,choice:e,cost:work,cost:size,cost:time,loss:error,loss:blur@1,loss:blur@9"
    ]
    for row in itertools.product(range(3), repeat=5):
        a, b, c, d, e = row
        error, blur = 0.9 - 0.05 * sum(row), 20 - a - b - c + 2 * d
        costs = 1 + a + b + c, 1 + 2 * (c + d), 1 + 3 * e
        lines.append(",".join(map(str, [*row, *costs, error, blur + 5, blur])))
    file = tmp_path_factory.mktemp("table") / "wide.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def final(spec: SearchSpec, **changes: object) -> SearchSpec:
    return played(spec, **{"schedule": None, "limit": {"gmacs": [3, 6]}, "budget": {"trials": 60}, **changes})


def test_several_losses_and_costs_are_searched_together(spec: SearchSpec, wide: Path) -> None:
    table = Table.read(wide)
    simulation = Simulation.of(final(spec), table, ["error", "blur"], ["work", "size"])
    search, _ = simulate(simulation, simulated.Cluster(workers=4))
    assert search.ending == "the budget of trials is spent"
    front = search.fronts()[-1].evaluations
    losses, reference = search.objectives.losses(front), search.objectives.reference(6.0)
    assert losses.shape == (len(front), 4)
    for other, one in itertools.permutations(losses, 2):
        assert not ((other <= one).all() and (other < one).any())
    # The share is the front's hypervolume as a share of that of all 243 designs, by another way.
    places = [simulation.place(evaluation.candidate.design) for evaluation in front]
    points = np.stack([table.losses["error"], table.losses["blur"], table.costs["work"], table.costs["size"]], 1)
    whole = dominance.hypervolume(points[dominance.undominated(points)], reference)
    assert simulation.share(search, 6.0) == pytest.approx(dominance.hypervolume(points[places], reference) / whole)
    assert simulation.share(search, 6.0) > 0.85
    for place, loss in enumerate(simulation.losses):
        assert points[places, place].min() - simulation.best(6.0, loss) < (0.051, 1.01)[place]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_every_sampler_takes_several_losses(spec: SearchSpec, wide: Path, sampler: str) -> None:
    settings = final(spec, sampler=sampler, budget={"trials": 20})
    simulation = Simulation.of(settings, Table.read(wide), ["error", "blur"], ["work", "time"])
    search, _ = simulate(simulation, simulated.Cluster(workers=4, failures=0.1))
    assert len({e.candidate.design for e in search.evaluations}) == 20


def test_a_schedule_promotes_by_all_losses(spec: SearchSpec, path: Path) -> None:
    """The same error twice and a further cost: nothing but the ends of promoted designs are final."""
    file = path.with_name("twice.csv")
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    names = header.split(",")
    errors = [place for place, name in enumerate(names) if name.startswith("loss:error")]
    added = [",".join(names[place].replace("error", "blur") for place in errors)]
    added += [",".join(line.split(",")[place] for place in errors) for line in lines]
    file.write_text("\n".join(f"{a},{b}" for a, b in zip([header, *lines], added, strict=True)), encoding="utf-8")
    simulation = Simulation.of(played(spec), Table.read(file), ["error", "blur"])
    search, _ = simulate(simulation, simulated.Cluster(workers=4))
    counts = [sum(e.candidate.fidelity.epochs == epochs for e in search.evaluations) for epochs in EPOCHS]
    assert counts[0] == 40
    assert counts[0] > counts[1] > counts[2] > 0
    assert all(e.candidate.fidelity.epochs == EPOCHS[-1] for e in search.fronts()[-1].evaluations)
    assert simulation.share(search, 9.0) > 0.4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"losses": ["error", "blur"], "costs": ["work", "size", "time"]}, "at most 4 losses and costs are searched"),
        ({"losses": ["error", "error"]}, "error is given twice"),
        ({"costs": ["work", "work"]}, "work is given twice"),
        ({"losses": ["error", "sharpness"]}, "no loss 'sharpness'; it has error, blur"),
    ],
)
def test_which_losses_and_costs_cannot_be_searched(
    spec: SearchSpec, wide: Path, names: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Simulation.of(final(spec), Table.read(wide), **names)


def test_the_command_takes_several(
    wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: SearchSpec
) -> None:
    from piip_search.cli.commands import app

    space = tmp_path / "space.yaml"
    content = final(spec, sampler="random", budget={"trials": 20}).model_dump(mode="json")
    space.write_text(json.dumps(content), encoding="utf-8")
    command = ["simulate", str(space), "--table", str(wide), "--loss", "error", "--loss", "blur", "--cost", "work"]
    command += ["--cost", "size"]
    app(command, standalone_mode=False)
    text = capsys.readouterr().out
    titles = next(line.split() for line in text.splitlines() if line.split()[:1] == ["trial"])
    assert titles == ["trial", "error", "blur", "work", "size", "design"]
    app([*command, "--json"], standalone_mode=False)
    facts = json.loads(capsys.readouterr().out)
    assert [(tier["tier"], tier["loss"]) for tier in facts["tiers"]] == list(
        itertools.product([3, 6], ["error", "blur"])
    )
    app([*command, "--quiet"], standalone_mode=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [[line[0], *line[1:3]] for line in lines] == [
        [f"{tier:g}", *(f"{row['best']:.4g}" for row in facts["tiers"] if row["tier"] == tier)] for tier in (3, 6)
    ]


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
