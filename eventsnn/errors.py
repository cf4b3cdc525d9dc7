"""Every error raised on purpose derives from `EventSNNError`; its message says what, where, and the remedy."""

from __future__ import annotations


class EventSNNError(Exception):
    """Base class: catch this to catch everything eventsnn raises on purpose."""


class ValidationError(EventSNNError, ValueError):
    """An argument is out of range, of the wrong shape or type, or not finite."""


class ConfigError(EventSNNError, ValueError):
    """A configuration file has an unknown key, a wrong type or a value out of range; the message names the path."""


class DataError(EventSNNError):
    """A data file is missing, damaged, or not what its name promises."""


class CheckpointError(EventSNNError):
    """A run folder or savepoint is missing, damaged, incomplete, or of another format version."""


class SimulationError(EventSNNError):
    """A simulation could not go on: a safety stop was reached or a value stopped being finite.

    Attributes
    ----------
    result : what was simulated up to a safety stop (a `Result`), else None
    """

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class MissingDependencyError(EventSNNError, ImportError):
    """An optional package is needed here and is not installed; the message gives the install command."""
