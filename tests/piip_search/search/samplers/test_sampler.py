from collections.abc import Sequence

import numpy as np
import optuna
import pytest

from piip_search.architecture.design import Design
from piip_search.config import SearchSpec
from piip_search.search.feasible import feasible_designs
from piip_search.search.samplers.optuna import FrontSampler, InsideLimits
from piip_search.search.samplers.sampler import SAMPLERS, make_sampler
from piip_search.search.samplers.suggestion import Sampler
from piip_search.space import Designs, Features
from support.contracts import MakeSampler, SamplerContract


@pytest.mark.parametrize("name", SAMPLERS)
class TestOptunaSamplers(SamplerContract):
    @pytest.fixture
    def spec(self, spec: SearchSpec) -> SearchSpec:
        """With fewer image sizes: all designs are asked for."""
        return spec.model_copy(update={"space": spec.space.model_copy(update={"resolutions": [32, 64, 128]})})

    @pytest.fixture
    def make(self, spec: SearchSpec, name: str) -> MakeSampler:  # type: ignore[override]
        space, designs = feasible_designs(spec)
        return lambda seed: make_sampler(name, space, designs, trials=30, seed=seed)


class TwoCosts(Designs):
    """Designs that are traded off by multiply-accumulates and parameters."""

    @property
    def costs_NC(self) -> np.ndarray:
        return np.stack([self.on("gmacs"), self.on("mparams")], 1)


class TwoMetrics:
    """A sampler that is told a second metric, of another unit, which is best where the first is half good."""

    def __init__(self, sampler: Sampler, costs: dict[str, float]) -> None:
        self._sampler, self._costs = sampler, costs
        self.ask, self.report = sampler.ask, sampler.report

    def tell(self, design: Design, losses: Sequence[float] | None) -> None:
        told = losses and [losses[0], 40 * abs(losses[0] - 0.5), losses[1], self._costs[design.name]]
        self._sampler.tell(design, told)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.slow
class TestOptunaSamplersOfSeveralLosses(SamplerContract):
    @pytest.fixture
    def spec(self, spec: SearchSpec) -> SearchSpec:
        """With fewer image sizes: all designs are asked for."""
        return spec.model_copy(update={"space": spec.space.model_copy(update={"resolutions": [32, 64]})})

    @pytest.fixture
    def make(self, spec: SearchSpec, name: str) -> MakeSampler:  # type: ignore[override]
        space, found = feasible_designs(spec)
        designs = TwoCosts(found.rows_ND, found.macs_N, found.params_N)
        costs = {space.decode(row).name: c for row, (_, c) in zip(designs.rows_ND, designs.costs_NC, strict=True)}
        return lambda seed: TwoMetrics(make_sampler(name, space, designs, trials=30, seed=seed, metrics=2), costs)


def test_the_wrapper_works_in_a_plain_study(spec: SearchSpec) -> None:
    space, designs = feasible_designs(spec)
    sampler = InsideLimits(optuna.samplers.NSGAIISampler(population_size=4, seed=0), space, designs, seed=0)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        params = {name: trial.suggest_int(name, d.low, d.high) for name, d in sampler.distributions.items()}
        architecture = sampler.decode(params)
        space.encode(architecture)
        return float(architecture.resolution), float(len(architecture.branches))

    study.optimize(objective, n_trials=20)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 20


def test_ours_works_in_a_plain_study_and_takes_trials_of_others_into_account(spec: SearchSpec) -> None:
    space, designs = feasible_designs(spec)
    by_name = {space.decode(row).name: macs for row, macs in zip(designs.rows_ND, designs.macs_N, strict=True)}

    def play(study: optuna.Study, sampler: FrontSampler, trials: int) -> list[str]:
        names = []
        for _ in range(trials):
            trial = study.ask()
            params = {name: trial.suggest_int(name, d.low, d.high) for name, d in sampler.distributions.items()}
            names.append(sampler.decode(params).name)
            study.tell(trial, [1.0 / (1.0 + by_name[names[-1]]), by_name[names[-1]] / 1e9])
        return names

    def fresh() -> FrontSampler:
        return FrontSampler(space, designs, [0.06], trials=12, seed=0)

    whole, cut = (optuna.create_study(directions=["minimize"] * 2, sampler=fresh()) for _ in range(2))
    names = play(whole, whole.sampler, 12)
    assert len(set(names)) == 12
    assert set(names) <= set(by_name)
    # Another process goes on with the same study: it knows nothing but its trials.
    first = play(cut, cut.sampler, 7)
    cut.sampler = fresh()
    assert first + play(cut, cut.sampler, 5) == names


def test_features_tell_designs_apart(spec: SearchSpec) -> None:
    space, designs = feasible_designs(spec)
    features = Features(space, designs).of(np.arange(len(designs)))
    assert len(np.unique(features.round(9), axis=0)) == len(designs)
    assert features.min() >= 0
    assert features.max() <= 1.5
    some = np.array([5, 3])
    np.testing.assert_array_equal(Features(space, designs).of(some), features[some])
