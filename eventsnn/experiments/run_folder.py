"""The folder of a run: what lies where, creating it, reading it, one writer at a time."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import eventsnn
from eventsnn.errors import CheckpointError, ConfigError
from eventsnn.experiments.config import dump_config, load_config
from eventsnn.experiments.schema import Config
from eventsnn.training.checkpoint import list_savepoints, read_savepoint, write_savepoint
from eventsnn.training.files import reason, sync_folder, write_bytes_atomic, write_json_atomic

__all__ = ["RunFolder", "new_folder", "versions"]


@dataclass(frozen=True)
class RunFolder:
    """``<name>_<time>/`` with config.yaml, metrics.json, savepoints/epoch_N/ and plots/.

    The savepoints are the truth: each holds the history up to its epoch. metrics.json is written after them from the
    same history and is made anew when a run is continued.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """The complete configuration of the run."""
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """Loss and accuracy of the epochs, test accuracy, versions."""
        return self.path / "metrics.json"

    @property
    def savepoints(self) -> Path:
        """The folder of the savepoints."""
        return self.path / "savepoints"

    @property
    def plots(self) -> Path:
        """The folder of the pictures."""
        return self.path / "plots"

    def savepoint(self, epoch: int) -> Path:
        """The folder of the savepoint after `epoch` epochs."""
        return self.savepoints / f"epoch_{epoch}"

    # -- creating and opening -------------------------------------------------------------------------------------

    @classmethod
    def create(cls, config: Config, out: Path, name: str | None = None) -> RunFolder:
        """Make a new run folder in `out` and write config.yaml.

        Its name is ``<config.name>_<time>``, unique even within a second. With `name` it is that; what a kill left of a
        run before its first savepoint is used again.

        Raises
        ------
        CheckpointError
            `out` is a file, or cannot be written; a run of that `name` is there.
        """
        with _making(out):
            run = cls(_new_folder(out, config.name, name))
            if name is not None and run.epochs():
                raise CheckpointError(f"{run.path}: there is a run already; `eventsnn continue` goes on with it")
            run.savepoints.mkdir(exist_ok=name is not None)
            run.plots.mkdir(exist_ok=name is not None)
            sync_folder(run.path)
            sync_folder(out)
        run.write_config(config)
        return run

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """An existing run folder.

        Raises
        ------
        CheckpointError
            There is no such folder, or it holds no config.yaml.
        """
        path = Path(path)
        if path.is_file():
            raise CheckpointError(f"{path}: is a file, not a run folder")
        if not path.is_dir():
            raise CheckpointError(f"{path}: no such run folder; `eventsnn train CONFIG` makes one")
        if not (path / "config.yaml").is_file():
            inside = sorted(child.name for child in _children(path) if (child / "config.yaml").is_file())
            hint = f"; did you mean {path / inside[-1]}?" if inside else ""
            raise CheckpointError(f"{path}: is not a run folder, it has no config.yaml{hint}")
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder at the same time; a kill ends the lock."""
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CheckpointError(
                    f"{self.path}: another process is training in this run folder; wait for it or stop it"
                ) from None
            except OSError:
                pass  # a file system without locks
            yield
        finally:
            os.close(handle)

    # -- config and metrics ---------------------------------------------------------------------------------------

    def read_config(self) -> Config:
        """The configuration of the run; a path, not a built-in name, whatever the folder is called."""
        try:
            return load_config(self.config_file.resolve())
        except ConfigError as error:
            raise ConfigError(
                f"{error}\n  this is the configuration of a run: restore it from what the run was started with"
            ) from error

    def write_config(self, config: Config) -> None:
        """Replace config.yaml."""
        text = f"# written by eventsnn {eventsnn.__version__}\n{dump_config(config)}"
        write_bytes_atomic(self.config_file, text.encode())

    def write_metrics(self, content: dict[str, Any]) -> None:
        """Replace metrics.json; the versions of what computes are added."""
        write_json_atomic(self.metrics_file, {**content, "versions": versions()})

    def read_metrics(self) -> dict[str, Any]:
        """Content of metrics.json; empty where it is missing or damaged, as nothing depends on it."""
        try:
            content = json.loads(self.metrics_file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    # -- savepoints -----------------------------------------------------------------------------------------------

    def epochs(self) -> list[int]:
        """Epochs with a savepoint, in rising order."""
        return list_savepoints(self.savepoints)

    def read_state(self, epoch: int | None) -> tuple[int, dict[str, Any]]:
        """Epoch and state of a savepoint; of the latest one for None.

        Raises
        ------
        CheckpointError
            There is no such savepoint (the message lists those there are), or it is damaged.
        """
        there = self.epochs()
        if not there:
            raise CheckpointError(
                f"{self.path}: has no savepoint, the run ended before its first one; start it anew: "
                f"eventsnn train {self.config_file}"
            )
        if epoch is None:
            epoch = there[-1]
        elif epoch not in there and not self.savepoint(epoch).is_dir():  # a damaged one explains itself better
            raise CheckpointError(f"{self.path}: no savepoint of epoch {epoch}; there are {_ranges(there)}")
        return epoch, read_savepoint(self.savepoint(epoch))

    def write_state(self, epoch: int, state: dict[str, Any]) -> None:
        """Write the savepoint of an epoch."""
        write_savepoint(self.savepoint(epoch), state)

    def set_aside_after(self, epoch: int) -> Path | None:
        """Move savepoints of later epochs into savepoints/superseded_<time>/, the last first; None if there are none.

        They belong to a course of the run that is about to be taken again; nothing is deleted.
        """
        later = [k for k in reversed(self.epochs()) if k > epoch]
        if not later:
            return None
        stem = f"superseded_{datetime.now().strftime('%Y-%m-%dT%H-%M-%S')}"
        try:
            number = 1
            while (target := self.savepoints / (stem if number == 1 else f"{stem}_{number}")).exists():
                number += 1
            target.mkdir()
            for k in later:
                if self.savepoint(k).is_dir():
                    os.rename(self.savepoint(k), target / f"epoch_{k}")
            sync_folder(target)
            sync_folder(self.savepoints)
        except OSError as error:
            raise CheckpointError(f"{self.savepoints}: later savepoints cannot be moved ({reason(error)})") from error
        return target


def new_folder(out: Path, name: str) -> Path:
    """Make ``<name>_<time>/`` in `out`, unique even within a second.

    Raises
    ------
    CheckpointError
        `out` is a file, or cannot be written.
    """
    with _making(out):
        path = _new_folder(out, name)
        sync_folder(out)
    return path


def _new_folder(out: Path, stem: str, name: str | None = None) -> Path:
    """``<stem>_<time>/`` in `out`, new; or `name`, which may be there."""
    stem = f"{stem}_{datetime.now().strftime('%Y-%m-%dT%H-%M-%S')}"
    out.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = out / (name or (stem if number == 1 else f"{stem}_{number}"))
        try:
            path.mkdir()  # fails when it exists: two runs that start together cannot share it
            return path
        except FileExistsError:
            if name is not None:
                return path
            number += 1


@contextmanager
def _making(out: Path) -> Iterator[None]:
    """Errors in the making of a folder in `out`, in words."""
    try:
        yield
    except FileExistsError:
        raise CheckpointError(f"{out}: is a file; give a folder for the runs with --out DIR") from None
    except OSError as error:
        raise CheckpointError(
            f"{out}: no run folder can be made there ({reason(error)}); give another folder with --out DIR"
        ) from error


def versions() -> dict[str, str]:
    """Versions of what computes."""
    found = {"eventsnn": eventsnn.__version__, "python": platform.python_version()}
    return found | {name: version(name) for name in ("numpy", "numba")}


def _children(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []


def _ranges(numbers: list[int]) -> str:
    """``[0, 1, 2, 10]`` as ``0 to 2, 10``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join(" to ".join(map(str, part)) for part in parts)
