"""Derivatives of several losses of one run, added up in the form that `eventprop` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.gradients.eventprop_sums import VoltageGradient

__all__ = ["LossDerivatives"]


class LossDerivatives:
    """Sums by population of d_times, d_v, d_slopes, d_heights and d_neurons; see `eventprop`."""

    def __init__(self) -> None:
        self._by_spike: dict[str, dict[str, NDArray[np.float64]]] = {"d_times": {}, "d_slopes": {}, "d_heights": {}}
        self._d_v: dict[str, VoltageGradient] = {}
        self._d_neurons: dict[str, dict[str, NDArray[np.float64]]] = {}

    def add(self, **given: Mapping[str, Any]) -> None:
        """Add arguments of `eventprop`, by their names."""
        for what, by in given.items():
            for name, own in by.items():
                if what == "d_v":
                    self._d_v[name] = _joined(self._d_v[name], own) if name in self._d_v else own
                elif what == "d_neurons":
                    table = self._d_neurons.setdefault(name, {})
                    for key, values in own.items():
                        table[key] = table[key] + values if key in table else values
                else:
                    table = self._by_spike[what]
                    table[name] = table[name] + own if name in table else own

    def arguments(self) -> dict[str, Any]:
        """Everything, as keyword arguments of `eventprop`."""
        return {**self._by_spike, "d_v": self._d_v, "d_neurons": self._d_neurons}


def _joined(one: VoltageGradient, other: VoltageGradient) -> VoltageGradient:
    slopes = [np.zeros(np.shape(own.values)) if own.slopes is None else own.slopes for own in (one, other)]
    columns = ((getattr(own, key) for own in (one, other)) for key in ("samples", "neurons", "times", "values"))
    samples, neurons, times, values = (np.concatenate(list(pair)) for pair in columns)
    return VoltageGradient(samples, neurons, times, values, np.concatenate(slopes))
