"""One training process in one run folder: what is said, saved and drawn while it trains."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.datasets import Dataset
from eventsnn.errors import CheckpointError, EventSNNError
from eventsnn.experiments.build_shared import n_threads
from eventsnn.experiments.run_folder import RunFolder, versions
from eventsnn.experiments.schema import Config
from eventsnn.gradients.chain import target_of
from eventsnn.network import Sequential
from eventsnn.training.monitor import ParameterMonitor

if TYPE_CHECKING:
    from eventsnn.training.metrics import Predictions
    from eventsnn.training.trainer import Trainer

__all__ = ["RunResult", "Session", "TrainingInterrupted", "write_comparison", "write_report"]

_CURVE_SECONDS = 3.0  # the curve is redrawn at most this often ...
_CURVE_SHARE = 20  # ... and its drawing takes at most this part (one twentieth) of the time


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C while training; every finished epoch is saved, and the message says how to go on."""

    def __init__(self, path: Path, epoch: int, n_epochs: int) -> None:
        self.path, self.epoch = path, epoch
        super().__init__(
            f"interrupted; {epoch} of {n_epochs} epochs are finished and saved, go on with: "
            f"eventsnn continue {path} {epoch}"
        )


@dataclass(frozen=True)
class RunResult:
    """What came out of a training run; `history` has one dict per epoch."""

    path: Path
    epoch: int
    test_loss: float
    test_accuracy: float
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class _Finished:
    """A copy of everything after an epoch."""

    epoch: int
    state: dict[str, Any]
    history: list[dict[str, Any]]


class Session:
    """One process that trains in one run folder."""

    def __init__(
        self, run: RunFolder, config: Config, dataset: Dataset, trainer: Trainer, progress: bool, plots: bool,
        *, on_epoch: Callable[[int], None] | None = None, monitored: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.run, self.config, self.dataset, self.trainer = run, config, dataset, trainer
        self.progress, self.plots, self.on_epoch = progress, plots, on_epoch
        self.saved_epoch = -1
        self.test: Any = None
        self.monitor = ParameterMonitor()
        if monitored is not None:
            self.monitor.load_state_dict(monitored)
        self.keep()
        self.next_curve = time.monotonic() + _CURVE_SECONDS

    @property
    def say(self) -> Callable[[str], None]:
        """Print, or nothing when no progress is wanted."""
        return (lambda text: print(text, flush=True)) if self.progress else (lambda text: None)

    def run_to_end(self) -> RunResult:
        """Train up to the last epoch, test, draw."""
        n_epochs = self.config.training.epochs
        self.introduce()
        try:
            self.trainer.fit(
                self.dataset.train,
                self.dataset.valid if len(self.dataset.valid) else None,
                n_epochs,
                progress=self.progress,
                on_epoch=lambda trainer, metrics: self.after_epoch(),
            )
            self.test = self.trainer.evaluate(self.dataset.test)
            self.write_metrics()
            self.say(f"test accuracy {100 * self.test.accuracy:.2f} %, loss {self.test.loss:.6g}")
            self.draw_all()
        except CheckpointError as error:  # a full disk, mostly
            raise CheckpointError(
                f"{error}; then go on with: eventsnn continue {self.run.path} {self.saved_epoch}"
            ) from error
        except KeyboardInterrupt:
            if self.last.epoch != self.saved_epoch:
                self.save()
            self.write_metrics()  # it may have come between the savepoint and this
            raise TrainingInterrupted(self.run.path, self.last.epoch, n_epochs) from None
        loss, accuracy = float(self.test.loss), float(self.test.accuracy)
        return RunResult(self.run.path, self.last.epoch, loss, accuracy, self.last.history)

    def introduce(self) -> None:
        """Say what is trained on what, and where it goes."""
        data, training = self.dataset, self.config.training
        self.say(
            f"data set: {data.name}, {len(data.train)} training, {len(data.valid)} validation, {len(data.test)} test "
            f"samples; {data.origin}"
        )
        self.say(f"network: {self.trainer.network!r}, {training.dtype}")
        self.say(f"run folder: {self.run.path}")
        if not _kernels_are_compiled():
            self.say("compiling the kernels: this happens once and can take a minute")

    def after_epoch(self) -> None:
        """Keep what the epoch brought."""
        training = self.config.training
        self.keep()
        epoch = self.last.epoch
        if epoch % training.savepoint_every == 0 or epoch in (training.epochs, *training.savepoints):
            self.save()
        else:
            self.write_metrics()
        if time.monotonic() >= self.next_curve:
            self.draw_curve()
        if self.on_epoch is not None:
            self.on_epoch(self.last.epoch)

    def save(self) -> None:
        """Savepoint first, then metrics.json: a kill between them leaves no epoch in metrics.json that is lost."""
        epoch = self.last.epoch
        self.run.write_state(epoch, self.last.state | {"monitor": self.monitor.state_dict(epoch)})
        self.saved_epoch = self.last.epoch
        self.write_metrics()

    def keep(self) -> None:
        """Copy the state after an epoch: whatever moment Ctrl-C comes at, this is what can be saved."""
        epoch = self.trainer.epoch
        self.monitor.record(epoch, self.trainer.network)
        self.last = _Finished(epoch, self.trainer.state_dict(), history_of(self.trainer))

    def write_metrics(self) -> None:
        """metrics.json, from the history up to the last finished epoch."""
        data = self.dataset
        self.run.write_metrics(
            {
                "name": self.config.name,
                "dataset": {"name": data.name, "origin": data.origin},
                "network": repr(self.trainer.network),
                "n_epochs": self.config.training.epochs,
                "epochs": self.last.history,
                "test_accuracy": None if self.test is None else float(self.test.accuracy),
                "test_loss": None if self.test is None else float(self.test.loss),
            }
        )

    def note_versions(self) -> None:
        """Other versions may round differently: say so."""
        then, now = self.run.read_metrics().get("versions"), versions()
        then = then if isinstance(then, dict) else {}
        changed = [f"{name} {then[name]} -> {now[name]}" for name in now if then.get(name, now[name]) != now[name]]
        if changed:
            self.say(f"note: versions changed ({', '.join(changed)}), the results may differ in the last bits")

    def draw_curve(self) -> None:
        """Redraw the curve; what goes wrong with a picture must not end a training run."""
        if not self.plots:
            return
        start = time.monotonic()
        try:
            from eventsnn.plotting import plot_history

            plot_history(self.last.history, title=self.config.name, path=self.run.plots / "curve.png")
        except Exception as error:
            self.say(f"note: no curve, it cannot be drawn ({error})")
            self.next_curve = float("inf")
            return
        now = time.monotonic()
        self.next_curve = now + max(_CURVE_SECONDS, _CURVE_SHARE * (now - start))

    def draw_all(self) -> None:
        """All pictures of the finished run."""
        if not self.plots:
            return
        try:
            written = write_report(self.run, self.config, self.dataset, self.trainer, None, self.monitor)
        except EventSNNError as error:
            self.say(f"note: {error}")
        else:
            self.say(f"{len(written)} pictures are in {self.run.plots}")


def write_report(
    folder: RunFolder, config: Config, dataset: Dataset, trainer: Trainer, threads: int | None,
    monitor: ParameterMonitor | None = None,
) -> list[Path]:  # fmt: skip
    """Draw all pictures of a trainer's network into the run's plots/ folder."""
    from eventsnn import plotting

    found = trainer.predict(dataset.test.spikes)
    paths: list[Path] = plotting.write_report(
        folder.path,
        trainer.hardware_network,
        dataset,
        history_of(trainer),
        encoding=config.dataset.model_dump(),
        t_max=trainer.t_max,
        clock=trainer.clock,
        predictions=found.labels,
        output_times=_first_times(trainer, found),
        noisy=_is_noisy(trainer),
        monitor=monitor,
        target_time=_target_time(trainer),
        n_threads=n_threads(config) if threads is None else threads,
    )
    return paths


def _first_times(trainer: Trainer, found: Predictions) -> NDArray[np.float64] | None:
    """The output's first spikes, if they are what the loss looks at."""
    return found.outputs if trainer.clock is None and target_of(trainer.loss) == "times" else None


def _is_noisy(trainer: Trainer) -> bool:
    """Whether evaluation differs from a simulation of the network."""
    return trainer.hardware is not None


def _target_time(trainer: Trainer) -> float | None:
    """When the right output is to fire, if the loss says so."""
    t_correct = getattr(trainer.loss, "t_correct", None)
    if t_correct is None or not isinstance(trainer.network, Sequential):
        return None
    return float(t_correct * np.min(trainer.network.layers[-1].neuron.tau_syn))


def write_comparison(
    folder: RunFolder, config: Config, dataset: Dataset, untrained: Trainer, trained: Trainer, threads: int | None
) -> list[Path]:
    """Draw the pictures of two trainers' networks beside each other into the run's plots/untrained/ folder."""
    from eventsnn import plotting

    both = [(trainer, trainer.predict(dataset.test.spikes)) for trainer in (untrained, trained)]
    paths: list[Path] = plotting.write_comparison(
        folder.path,
        untrained.hardware_network,
        trained.hardware_network,
        dataset,
        encoding=config.dataset.model_dump(),
        t_max=trained.t_max,
        clock=trained.clock,
        predictions=(both[0][1].labels, both[1][1].labels),
        output_times=(_first_times(*both[0]), _first_times(*both[1])),
        noisy=_is_noisy(trained),
        n_threads=n_threads(config) if threads is None else threads,
    )
    return paths


def recorded_until(folder: RunFolder, epoch: int) -> ParameterMonitor | None:
    """The course of the parameters up to a savepoint; None for one that an older version wrote."""
    state = folder.read_state(epoch)[1].get("monitor")
    if state is None:
        return None
    monitor = ParameterMonitor()
    monitor.load_state_dict(state)
    return monitor


def history_of(trainer: Trainer) -> list[dict[str, Any]]:
    return [dataclasses.asdict(metrics) for metrics in trainer.history]


def _kernels_are_compiled() -> bool:
    """Whether Numba's cache holds kernels of this package (they may still be out of date)."""
    import eventsnn.kernels as kernels

    folders = [Path(folder) / "__pycache__" for folder in kernels.__path__]
    if os.environ.get("NUMBA_CACHE_DIR"):
        folders = [Path(os.environ["NUMBA_CACHE_DIR"])]
    return any(next(folder.rglob("*.nbi"), None) is not None for folder in folders)
