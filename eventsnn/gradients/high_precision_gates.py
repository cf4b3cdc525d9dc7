"""Maximum pools between layers of first spikes, for times in any precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from eventsnn._paths import Paths

__all__ = ["Gates"]


class Gates:
    """Maxima of planes of first spikes, one after the other: of each window the neuron that spikes first.

    gates : sequence of MaxPool2d
    """

    def __init__(self, gates: Sequence[Any]) -> None:
        self.n_pre, self.n_post = gates[0].n_pre, gates[-1].n_post
        self._tables: list[list[list[int]]] = []
        for gate in gates:
            n_channels = gate.windows.plane[2]
            paths = Paths.of_windows(gate.windows, n_channels, n_channels)
            self._tables.append([own.tolist() for own in np.split(paths.targets, paths.indptr[1:-1])])
        #: of the last call: by window of every gate the winner, -1 for none
        self.winners: list[int] = []

    def __call__(self, events: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
        """The events that pass, on the plane of the last gate."""
        self.winners = []
        for table in self._tables:
            winners: dict[int, int] = {}
            passed = []
            for time, neuron in sorted(events):
                if time < math.inf:
                    passed += [
                        (time, window) for window in table[neuron] if winners.setdefault(window, neuron) == neuron
                    ]
            n_windows = 1 + max(max(windows, default=-1) for windows in table)
            self.winners += [winners.get(window, -1) for window in range(n_windows)]
            events = passed
        return events
