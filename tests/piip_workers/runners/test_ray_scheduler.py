"""Our schedule in a run of Ray Tune that is somebody else's."""

import json
from pathlib import Path
from typing import Any

import pytest

from piip_search.search.halving import Halving

ray = pytest.importorskip("ray")

from ray import tune  # noqa: E402

from piip_workers.runners.ray_scheduler import HalvingScheduler  # noqa: E402

RUNGS, TIERS, DESIGNS = (1, 3, 9), (10.0, 20.0), 20
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.filterwarnings("ignore")]


def accuracy(size: int, epoch: int) -> float:
    """Larger designs are better, but learn more slowly."""
    return 1 - 0.5 / (1 + size) - 0.02 * size / epoch - 0.001 * (size * 7 % 5)


class Training(tune.Trainable):
    """Goes on from its checkpoint; one design cannot be trained."""

    def setup(self, config: dict[str, Any]) -> None:
        self.epoch = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self.epoch += 1
        if self.config["size"] == 5 and self.epoch == 2:
            raise ValueError("out of luck")
        return {"accuracy": accuracy(self.config["size"], self.epoch), "epoch": self.epoch}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "epoch.json").write_text(json.dumps(self.epoch), encoding="utf-8")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.epoch = json.loads((Path(checkpoint_dir) / "epoch.json").read_text(encoding="utf-8"))


def expected(order: list[int]) -> dict[int, int]:
    """Epochs of each design when one after the other is trained, by the same policy without Ray."""
    halving: Halving[int] = Halving(RUNGS, 3, TIERS)
    trained: dict[int, int] = {}

    def train(size: int, rung: int) -> None:
        halving.start(size, rung, float(size))
        failed = size == 5 and rung
        trained[size] = trained[size] if failed else RUNGS[rung]
        halving.record(size, rung, None if failed else (-accuracy(size, RUNGS[rung]), float(size)))

    for size in order:
        trained[size] = 0
        train(size, 0)
        while (going := halving.promotion()) is not None:
            train(*going)
    while (going := halving.promotion(closed=True)) is not None:
        train(*going)
    return trained


@pytest.mark.parametrize(("at_once", "limited"), [(1, False), (2, False), (2, True)])
@pytest.mark.usefixtures("cluster")
def test_the_promising_go_on_and_the_others_end(tmp_path: Path, at_once: int, limited: bool) -> None:
    cpus = ray.cluster_resources()["CPU"]
    order = [(7 * place + 3) % DESIGNS + 1 for place in range(DESIGNS)]
    scheduler = HalvingScheduler(RUNGS, lambda config: config["size"], TIERS, time_attr="epoch")
    tuner = tune.Tuner(
        tune.with_resources(Training, {"cpu": cpus / (2 if limited else at_once)}),
        param_space={"size": tune.grid_search(order)},
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            scheduler=scheduler,
            reuse_actors=True,
            max_concurrent_trials=at_once if limited else 0,
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    trained = {result.config["size"]: result.metrics.get("epoch", 0) for result in results}
    if at_once == 1:
        assert trained == expected(order)
    assert set(trained) == set(order)
    assert set(trained.values()) <= set(RUNGS)
    for rung, share in ((3, 3), (9, 9)):
        assert DESIGNS / share / 2 <= sum(epochs >= rung for epochs in trained.values()) <= DESIGNS / share + 2
    assert any(size <= TIERS[0] and epochs == RUNGS[-1] for size, epochs in trained.items())
    assert "of epoch" in scheduler.debug_string()


def test_without_a_metric_it_says_so() -> None:
    with pytest.raises(ValueError, match="give metric and mode"):
        HalvingScheduler(RUNGS, lambda config: 1.0, TIERS).set_search_properties(None, None)
