"""The logs of an unattended run, which may fail without the run failing: a result is worth more than its curve."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger


class _Nothing:
    """Takes whatever it is told."""

    def __getattr__(self, name: str) -> Callable[..., "_Nothing"]:
        return lambda *_, **__: self


class RunLogger(TensorBoardLogger):
    """TensorBoard's logger that gives up where it cannot write, and says why in `failure`."""

    failure: str | None = None

    @property
    def experiment(self) -> Any:
        found = self._attempt(lambda: super(RunLogger, self).experiment)
        return found if self.failure is None else _Nothing()

    def log_metrics(self, *arguments: Any, **keywords: Any) -> None:
        self._attempt(super().log_metrics, *arguments, **keywords)

    def log_hyperparams(self, *arguments: Any, **keywords: Any) -> None:
        self._attempt(super().log_hyperparams, *arguments, **keywords)

    def save(self) -> None:
        self._attempt(super().save)

    def finalize(self, status: str) -> None:
        self._attempt(super().finalize, status)

    def _attempt(self, write: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        if self.failure is None:
            try:
                return write(*arguments, **keywords)
            except OSError as error:
                self.failure = f"{error.filename or self.log_dir}: {error.strerror}"
        return None
