import optuna
import pytest
from contracts import MakeSampler, SamplerContract

from piip_search.legal import legal_designs
from piip_search.sampler import SAMPLERS, InsideLimits, make_sampler
from piip_search.spec import SearchSpec


@pytest.mark.parametrize("name", list(SAMPLERS))
class TestOptunaSamplers(SamplerContract):
    @pytest.fixture
    def make(self, spec: SearchSpec, name: str) -> MakeSampler:  # type: ignore[override]
        space, designs = legal_designs(spec)
        return lambda seed: make_sampler(name, space, designs, trials=30, seed=seed)


def test_the_wrapper_works_in_a_plain_study(spec: SearchSpec) -> None:
    space, designs = legal_designs(spec)
    sampler = InsideLimits(optuna.samplers.NSGAIISampler(population_size=4, seed=0), space, designs, seed=0)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        params = {name: trial.suggest_int(name, d.low, d.high) for name, d in sampler.distributions.items()}
        architecture = sampler.decode(params)
        space.encode(architecture)
        return float(architecture.resolution), float(len(architecture.branches))

    study.optimize(objective, n_trials=20)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 20
