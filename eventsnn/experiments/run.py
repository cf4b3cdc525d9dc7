"""Run experiments: train, continue, test and picture a run folder. The command line is a thin layer over this."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventsnn.datasets import Dataset
from eventsnn.errors import CheckpointError, ValidationError
from eventsnn.experiments.build import build_dataset, build_network, build_trainer
from eventsnn.experiments.config import load_config, with_overrides
from eventsnn.experiments.run_folder import RunFolder
from eventsnn.experiments.schema import Config
from eventsnn.experiments.session import (
    RunResult,
    Session,
    TrainingInterrupted,
    recorded_until,
    write_comparison,
    write_report,
)  # fmt: skip
from eventsnn.network import Sequential
from eventsnn.training.checkpoint import clean_up

if TYPE_CHECKING:
    from eventsnn.training.trainer import Trainer

__all__ = [
    "InferenceResult", "RepeatedInference", "RunResult", "TrainingInterrupted", "continue_run", "evaluate", "inference",
    "repeat_inference", "train",
]  # fmt: skip


@dataclass(frozen=True)
class InferenceResult:
    """Result of one savepoint on the test set."""

    path: Path
    epoch: int
    test_loss: float
    test_accuracy: float
    n_silent_outputs: int


@dataclass(frozen=True)
class RepeatedInference:
    """Results of one savepoint on the test set with new noise each time: one entry per repetition."""

    path: Path
    epoch: int
    test_losses: tuple[float, ...]
    test_accuracies: tuple[float, ...]

    @property
    def mean_accuracy(self) -> float:
        """Mean over the repetitions."""
        return statistics.mean(self.test_accuracies)

    @property
    def std_accuracy(self) -> float:
        """Standard deviation (n - 1) over the repetitions."""
        return statistics.stdev(self.test_accuracies)


def train(
    config: Config | str | Path,
    out: Path | str = "runs",
    *,
    epochs: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    progress: bool = True,
    plots: bool = True,
    folder_name: str | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> RunResult:
    """Train a configuration in a new run folder.

    Parameters
    ----------
    config : Config, str or path
        A configuration, the name of a built-in one, or a YAML file.
    out : path
        Folder in which the run folder is made.
    epochs, seed, threads : int, optional
        Replace ``training.epochs``, ``training.seed`` and ``training.threads`` of the configuration.
    progress : bool
        Print what happens, with a progress bar.
    plots : bool
        Draw pictures: the curve while training, all others at the end.
    folder_name : str, optional
        Name of the run folder; default the configuration's name and the time.
    on_epoch : callable, optional
        Called with the number of every finished epoch; a KeyboardInterrupt that it raises ends the training as Ctrl-C
        does.

    Returns
    -------
    RunResult

    Raises
    ------
    ConfigError, DataError
        The configuration or the data cannot be used.
    CheckpointError
        The run folder cannot be written, or `folder_name` holds a run already.
    TrainingInterrupted
        Ctrl-C (a KeyboardInterrupt); all finished epochs are saved.
    """
    given = {"training.epochs": epochs, "training.seed": seed, "training.threads": threads}
    overrides: dict[str, Any] = {path: value for path, value in given.items() if value is not None}
    if isinstance(config, Config):
        config = with_overrides(config, overrides)
    else:
        config = load_config(config, overrides, note=print if progress else None)
    config = located(config)
    dataset, trainer = _build(config)
    run = RunFolder.create(config, Path(out), folder_name)
    with run.locked():
        session = Session(run, config, dataset, trainer, progress, plots, on_epoch=on_epoch)
        session.save()  # epoch 0: a run that is killed in its first epoch can be continued, too
        return session.run_to_end()


def continue_run(
    run: Path | str,
    epoch: int | None = None,
    *,
    epochs: int | None = None,
    threads: int | None = None,
    progress: bool = True,
    plots: bool = True,
    on_epoch: Callable[[int], None] | None = None,
) -> RunResult:
    """Go on with a run from a savepoint; the outcome has the same bits as that of a run that never stopped.

    Parameters
    ----------
    run : path
        The run folder.
    epoch : int, optional
        Savepoint to go on from; default the latest one. Savepoints of later epochs are moved into a folder
        ``savepoints/superseded_<time>/``, and their epochs are dropped from metrics.json.
    epochs : int, optional
        New total number of epochs; it is written into the run's config.yaml. A cosine schedule stretches over it.
    threads, progress, plots, on_epoch
        As for `train`; any number of threads gives the same bits.

    Raises
    ------
    CheckpointError
        Not a run folder, no such savepoint (those there are are listed), a damaged one, one of another network, or
        one beyond the last epoch.
    ConfigError
        The run's config.yaml is damaged.
    TrainingInterrupted
        Ctrl-C (a KeyboardInterrupt); all finished epochs are saved.
    """
    folder = RunFolder.open(run)
    old_config = folder.read_config()
    config = old_config if epochs is None else with_overrides(old_config, {"training.epochs": epochs})
    with folder.locked():
        _clean_up(folder)
        start, state = folder.read_state(epoch)
        if start > config.training.epochs:
            raise CheckpointError(
                f"{folder.path}: the savepoint is of epoch {start}, beyond the last one, {config.training.epochs}; "
                f"give more with --epochs, or use another savepoint"
            )
        dataset, trainer = _build(config, threads)
        _load(trainer, state, folder, start)
        session = Session(
            folder, config, dataset, trainer, progress, plots, on_epoch=on_epoch, monitored=state.get("monitor")
        )
        session.saved_epoch = start
        session.say(f"continuing after epoch {start} of {config.training.epochs}")
        session.note_versions()
        if config != old_config:
            folder.write_config(config)
        session.write_metrics()
        moved = folder.set_aside_after(start)
        if moved is not None:
            session.say(f"savepoints of later epochs are now in {moved}")
        return session.run_to_end()


def inference(
    run: Path | str, epoch: int | None = None, *, threads: int | None = None, progress: bool = True
) -> InferenceResult:
    """Loss and accuracy of a savepoint on the test set; of the latest savepoint by default.

    Raises
    ------
    CheckpointError, ConfigError, DataError
        The run folder, the savepoint or the data cannot be used.
    """
    folder, epoch, config, dataset, trainer = _reopen(run, epoch, threads)
    metrics = trainer.evaluate(dataset.test)
    result = InferenceResult(
        folder.path, epoch, float(metrics.loss), float(metrics.accuracy), int(metrics.n_silent_outputs)
    )
    if progress:
        silent = f", {result.n_silent_outputs} without an output spike" if config.output_may_be_silent else ""
        print(
            f"{folder.path}, epoch {epoch}, {len(dataset.test)} test samples of {dataset.name} ({dataset.origin}): "
            f"accuracy {100 * result.test_accuracy:.2f} %, loss {result.test_loss:.6g}{silent}"
        )
    return result


def repeat_inference(
    run: Path | str,
    n_repetitions: int,
    epoch: int | None = None,
    *,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = True,
) -> RepeatedInference:
    """Loss and accuracy of a savepoint on the test set, several times with new noise in the network.

    Parameters
    ----------
    run, epoch, threads, progress
        As for `inference`.
    n_repetitions : int
        At least 2. What is noisy is said by the configuration; its fixed patterns stay the same.
    seed : int
        Repetition k draws with the seed ``seed + k``, so that any of them can be had again.

    Raises
    ------
    ValidationError
        Fewer than two repetitions, or a configuration without noise in inference: all would be the same.
    CheckpointError, ConfigError, DataError
        The run folder, the savepoint or the data cannot be used.
    """
    if n_repetitions < 2:
        raise ValidationError(f"repeat_inference.n_repetitions: must be >= 2, got {n_repetitions}")
    folder, epoch, _, dataset, trainer = _reopen(run, epoch, threads)
    if not _is_noisy(trainer):
        raise ValidationError(
            f"{folder.path}: has no noise in inference, all repetitions would be the same; leave out --repeat, or give "
            "the network noise in its configuration (network.layers: threshold_noise, jitter, delay.jitter)"
        )
    losses, accuracies = [], []
    for k in range(n_repetitions):
        metrics = trainer.evaluate(dataset.test, noise_seed=seed + k)
        losses.append(metrics.loss)
        accuracies.append(metrics.accuracy)
        if progress:
            accuracy = f"accuracy {100 * metrics.accuracy:.2f} %, loss {metrics.loss:.6g}"
            print(f"repetition {k + 1} of {n_repetitions} (seed {seed + k}): {accuracy}", flush=True)
    result = RepeatedInference(folder.path, epoch, tuple(losses), tuple(accuracies))
    if progress:
        print(
            f"epoch {epoch}, {n_repetitions} times {len(dataset.test)} test samples: accuracy "
            f"{100 * result.mean_accuracy:.2f} +- {100 * result.std_accuracy:.2f} % (mean, standard deviation), loss "
            f"{statistics.mean(losses):.6g} +- {statistics.stdev(losses):.2g}"
        )
    return result


def evaluate(
    run: Path | str,
    epoch: int | None = None,
    *,
    untrained: bool = False,
    threads: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Draw all pictures of a savepoint (default: the latest) into the run's plots/ folder; returns their paths.

    With `untrained` also those that have the network before its training, savepoint 0, to the left, into
    plots/untrained/.

    Raises
    ------
    CheckpointError, ConfigError, DataError
        The run folder, the savepoint or the data cannot be used.
    EventSNNError
        A picture could not be drawn; the others are written.
    """
    folder, epoch, config, dataset, trainer = _reopen(run, epoch, threads)
    if progress:
        print(f"drawing the pictures of {folder.path}, epoch {epoch}", flush=True)
    before = _at(folder, 0, config, dataset, threads) if untrained else None  # before anything is drawn: it may fail
    written = write_report(folder, config, dataset, trainer, threads, recorded_until(folder, epoch))
    if before is not None:
        written += write_comparison(folder, config, dataset, before, trainer, threads)
    if progress:
        print("\n".join(str(path) for path in written))
    return written


# -- pieces -------------------------------------------------------------------------------------------------------


def located(config: Config) -> Config:
    """The configuration with the whole path of its data file: the run can then be continued from anywhere."""
    data_file = getattr(config.dataset, "path", None)
    if data_file is None:
        return config
    return with_overrides(config, {"dataset.path": os.path.abspath(os.path.expanduser(data_file))})


def _build(config: Config, threads: int | None = None) -> tuple[Dataset, Trainer]:
    dataset = build_dataset(config)
    network = build_network(config, dataset.n_inputs, dataset.n_classes)
    return dataset, build_trainer(config, network, threads=threads)


def _reopen(run: Path | str, epoch: int | None, threads: int | None) -> tuple[RunFolder, int, Config, Dataset, Trainer]:
    """A run at one of its savepoints, for reading."""
    folder = RunFolder.open(run)
    config = folder.read_config()
    epoch, state = folder.read_state(epoch)
    dataset, trainer = _build(config, threads)
    _load(trainer, state, folder, epoch)
    return folder, epoch, config, dataset, trainer


def _at(folder: RunFolder, epoch: int, config: Config, dataset: Dataset, threads: int | None) -> Trainer:
    """A trainer at a savepoint, on data that are loaded already."""
    trainer = build_trainer(config, build_network(config, dataset.n_inputs, dataset.n_classes), threads=threads)
    _load(trainer, folder.read_state(epoch)[1], folder, epoch)
    return trainer


def _is_noisy(trainer: Trainer) -> bool:
    """Whether two evaluations with different noise seeds can differ."""
    hardware, network = trainer.hardware, trainer.network
    if hardware is None or not isinstance(network, Sequential):
        return False
    return any(hardware.of(layer.name).is_random for layer in network.layers)


def _load(trainer: Trainer, state: dict[str, Any], folder: RunFolder, epoch: int) -> None:
    try:
        trainer.load_state_dict(state)
    except (ValidationError, KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder.savepoint(epoch)}: does not fit {folder.config_file} ({error}); was config.yaml changed, or the "
            "savepoint written by another version?"
        ) from error
    if trainer.epoch != epoch:
        raise CheckpointError(
            f"{folder.savepoint(epoch)}: holds the state of epoch {trainer.epoch}; rename it to epoch_{trainer.epoch}"
        )


def _clean_up(folder: RunFolder) -> None:
    try:
        folder.savepoints.mkdir(exist_ok=True)
        folder.plots.mkdir(exist_ok=True)
        clean_up(folder.savepoints)
    except OSError as error:
        raise CheckpointError(f"{folder.path}: cannot be written ({error.strerror})") from error
