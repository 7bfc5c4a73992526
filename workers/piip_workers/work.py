"""How a candidate is measured, as plain data that any process can take up."""

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from piip_search.evaluation import Candidate, Evaluation


@dataclass(frozen=True)
class Work:
    """A function by its import path, and its settings: what crosses to a worker in place of our classes.

    Attributes:
        function: `module:name` of a function of a candidate and the settings, that returns an evaluation.
        settings: Keyword arguments, plain data.
    """

    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, candidate: Candidate) -> Evaluation:
        """Measures a candidate; whatever goes wrong is an evaluation that failed."""
        started = time.monotonic()
        try:
            return self._resolve()(candidate, **self.settings)
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            return Evaluation(candidate, "failed", error=text[:2000], seconds=time.monotonic() - started)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"function": self.function, "settings": dict(self.settings)}

    def _resolve(self) -> Callable[..., Evaluation]:
        module, _, name = self.function.partition(":")
        function: Callable[..., Evaluation] = getattr(importlib.import_module(module), name)
        return function
