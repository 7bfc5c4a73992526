"""The log of a full training by epochs: a file beside its checkpoints, and a mirror."""

import json
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from piip_search.redact import without_secrets
from piip_workers.mmlab.loss_watch import LossWatch
from piip_workers.mmlab.shims import install
from piip_workers.whole_files import write_whole

install()
from mmengine.dist import is_main_process  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402

HISTORY = "history.json"
SETTING = "optim_wrapper.optimizer.lr, or set optim_wrapper.clip_grad.max_norm=1.0, and begin again"
"""Settings of the rate, and how to change them."""


class Mirror(Protocol):
    """A place where people watch a training."""

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Records the numbers of an epoch."""
        ...

    def end(self, status: str) -> None:
        """Records the end of the training: `FINISHED`, `FAILED` or `KILLED`."""
        ...


class TrainingLog(Hook):  # type: ignore[misc]
    """Records the loss and the metrics of every epoch; an error of the mirror never ends a training."""

    def __init__(self, folder: Path, metrics: Collection[str], open_mirror: Callable[[], Mirror | None]) -> None:
        """Continues the file of an earlier sitting.

        Args:
            folder: Folder of the file.
            metrics: Names of the metrics to record.
            open_mirror: Opens the mirror; called only in the first process.
        """
        file = folder / HISTORY
        self.history: list[dict[str, float]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        self._file, self._metrics = file, metrics
        self._losses: list[float] = []
        self._rate = 0.0
        self._watch = LossWatch(folder, SETTING, self.history)
        self._mirror: Mirror | None = None
        if is_main_process():
            self._mirror = self._tried(open_mirror)

    def before_train(self, runner: Any) -> None:
        self._watch.begin(runner.model)

    def before_train_epoch(self, runner: Any) -> None:
        self._losses = []
        if runner.epoch == 0:
            self.history = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self._rate = max(runner.optim_wrapper.get_lr()["lr"])

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        loss = float(outputs["loss"])
        self._watch.see(loss, runner, batch_idx, self._rate, data_batch)
        self._losses.append(loss)

    def after_train_epoch(self, runner: Any) -> None:
        loss = sum(self._losses) / max(1, len(self._losses))
        self._keep(runner.epoch + 1, {"loss": loss, "learning_rate": self._rate})

    def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        named = {key.rpartition("/")[2]: float(value) for key, value in (metrics or {}).items()}
        self._keep(runner.epoch, {key: value for key, value in named.items() if key in self._metrics})

    def after_train(self, runner: Any) -> None:
        self.end("FINISHED")

    def end(self, status: str) -> None:
        """Records the end of the training."""
        mirror, self._mirror = self._mirror, None
        if mirror is not None:
            self._tried(lambda: mirror.end(status))

    def _keep(self, epoch: int, values: Mapping[str, float]) -> None:
        if not is_main_process():
            return
        row = next((row for row in self.history if row["epoch"] == epoch), {"epoch": float(epoch)})
        self.history = [*(other for other in self.history if other["epoch"] < epoch), {**row, **values}]
        write_whole(self._file, json.dumps(self.history))
        mirror = self._mirror
        if mirror is not None:
            self._tried(lambda: mirror.log(values, epoch))

    def _tried(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:  # every store has errors of its own
            self._mirror = None
            reason = without_secrets(" ".join(str(error).split()))[:300]
            print(f"warning: not mirrored into MLflow: {type(error).__name__}: {reason}", file=sys.stderr)
            return None
