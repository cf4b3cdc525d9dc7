"""The course of a network's parameters over the epochs: quantiles of all, and some followed one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.graph import Network
from eventsnn.network import Sequential

__all__ = ["ParameterCourse", "ParameterMonitor"]

#: least, 5 %, quarters, 95 %, largest
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: entries that are followed one by one, spread evenly over the array; an array that small is recorded completely
N_FOLLOWED = 8


@dataclass(frozen=True)
class ParameterCourse:
    """One parameter over the recorded epochs.

    shape : of the parameter; quantiles : (n_records, 7), at `QUANTILES`; followed : (n_followed,), indices into the
    flat parameter; values : (n_records, n_followed), its entries there
    """

    shape: tuple[int, ...]
    quantiles: NDArray[np.float64]
    followed: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def is_complete(self) -> bool:
        """Whether every entry is followed."""
        return self.followed.size == int(np.prod(self.shape))

    @property
    def is_constant(self) -> bool:
        """Whether nothing changed."""
        return bool((self.quantiles == self.quantiles[:1]).all() and (self.values == self.values[:1]).all())


class ParameterMonitor:
    """Records weights, delays and time constants of a network while it is trained.

    Examples
    --------
    It can be given to `Trainer.fit` as `on_epoch`, after a `record` of the untrained network:

    >>> import numpy as np
    >>> from eventsnn import Adam, Dense, FirstSpikeCrossEntropy, LIF, ParameterMonitor, Sequential, Trainer
    >>> from eventsnn.datasets import load_xor
    >>> data = load_xor(tau_syn=1.0, n_train=20, n_valid=4, n_test=4)
    >>> lif = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    >>> network = Sequential([Dense(np.full((data.n_inputs, 2), 1.5)), lif])
    >>> trainer = Trainer(network, FirstSpikeCrossEntropy(), Adam(1e-2), seed=0)
    >>> monitor = ParameterMonitor()
    >>> monitor.record(0, trainer.network)
    >>> history = trainer.fit(data.train, None, 3, progress=False, on_epoch=monitor)
    >>> monitor.epochs.tolist()
    [0, 1, 2, 3]
    >>> monitor.course("output.weight").quantiles.shape
    (4, 7)
    """

    def __init__(self) -> None:
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._rows: dict[int, dict[str, NDArray[np.float64]]] = {}

    def __call__(self, trainer: Any, metrics: Any = None) -> None:
        """Record the network of a trainer after the epoch that it has finished."""
        self.record(trainer.epoch, trainer.network)

    def record(self, epoch: int, network: Sequential | Network) -> None:
        """Record a network after `epoch` epochs; what was recorded of this epoch and later ones is dropped.

        Raises
        ------
        ValidationError
            The network has other parameters than the one recorded before.
        """
        values = _parameters(network)
        shapes = {name: value.shape for name, value in values.items()}
        self._rows = {k: row for k, row in self._rows.items() if k < epoch}
        if self._rows and shapes != self._shapes:
            raise ValidationError(f"ParameterMonitor.record: parameters {shapes}, before they were {self._shapes}")
        self._shapes = shapes
        self._rows[int(epoch)] = {name: _summary(value) for name, value in values.items()}

    @property
    def epochs(self) -> NDArray[np.int64]:
        """The recorded epochs, in rising order."""
        return np.array(list(self._rows), np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """The recorded parameters."""
        return tuple(self._shapes) if self._rows else ()

    def course(self, name: str) -> ParameterCourse:
        """What was recorded of one parameter.

        Raises
        ------
        ValidationError
            There is no such name among `names`.
        """
        if name not in self.names:
            raise ValidationError(f"ParameterMonitor.course: no parameter {name!r}; there are {', '.join(self.names)}")
        rows = np.array([row[name] for row in self._rows.values()])
        shape, n = self._shapes[name], len(QUANTILES)
        return ParameterCourse(shape, rows[:, :n], _followed(int(np.prod(shape))), rows[:, n:])

    def state_dict(self, epoch: int | None = None) -> dict[str, Any]:
        """What `load_state_dict` needs, up to an epoch: arrays and lists for a savepoint."""
        rows = [row for k, row in self._rows.items() if epoch is None or k <= epoch]
        return {
            "epochs": [k for k in self._rows if epoch is None or k <= epoch],
            "shapes": {name: list(shape) for name, shape in self._shapes.items()},
            "rows": {name: np.array([row[name] for row in rows]) for name in self._shapes},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict`."""
        self._shapes = {name: tuple(shape) for name, shape in state["shapes"].items()}
        self._rows = {
            int(epoch): {name: np.array(rows[k], np.float64) for name, rows in state["rows"].items()}
            for k, epoch in enumerate(state["epochs"])
        }


def _parameters(network: Sequential | Network) -> dict[str, NDArray[np.floating]]:
    """Weights, delays and time constants."""
    kinds = ("weight", "delay", "tau_mem", "tau_syn")
    names = [name for name in network.parameter_names if name.rpartition(".")[2].partition("[")[0] in kinds]
    return {name: network.parameter(name) for name in names}


def _followed(size: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, size - 1, min(N_FOLLOWED, size)).round().astype(np.int64))


def _summary(parameter: NDArray[np.floating]) -> NDArray[np.float64]:
    """Quantiles (the entries next to them) and the entries that are followed."""
    flat = parameter.ravel()
    ordered = np.sort(flat)
    at = np.rint(np.array(QUANTILES) * (flat.size - 1)).astype(np.int64)
    return np.concatenate((ordered[at], flat[_followed(flat.size)])).astype(np.float64)
