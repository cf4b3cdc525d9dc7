"""`simulate_clocked`: networks on a time grid, driven by sparse events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._names import hint
from eventsnn._validation import index_array
from eventsnn.currents import Currents
from eventsnn.errors import ValidationError
from eventsnn.graph import Network
from eventsnn.kernels.grid_events import spike_events
from eventsnn.network import Sequential
from eventsnn.simulation.grid_inputs import GridInput, checked_inputs, n_steps_of
from eventsnn.simulation.grid_network import GridNetwork
from eventsnn.simulation.grid_runner import GridRunner, chunk_size, constant_drive
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.simulation.progress import TimeBar
from eventsnn.spikes import Spikes, concatenate

__all__ = ["ClockedResult", "simulate_clocked"]


class ClockedResult:
    """Outcome of `simulate_clocked`.

    Attributes
    ----------
    network : the simulated network
    spikes : dict of Spikes by name of a population, at times step * dt; inputs that were given as `Spikes` too
    dt, n_steps : the grid
    """

    def __init__(
        self, network: Sequential | Network, grid: GridNetwork, inputs: dict[str, GridInput], spikes: dict[str, Spikes],
        n_steps: int,
    ) -> None:  # fmt: skip
        self.network, self.spikes, self.dt, self.n_steps = network, spikes, grid.dt, n_steps
        self._grid, self._inputs = grid, inputs

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return next(iter(self._inputs.values())).n_samples

    @property
    def t_start(self) -> float:
        """Time of the first step."""
        return 0.0

    @property
    def t_max(self) -> float:
        """End of the last step."""
        return self.n_steps * self.dt

    @property
    def times(self) -> NDArray[np.float64]:
        """Times of the steps, shape (n_steps,)."""
        times: NDArray[np.float64] = self.dt * np.arange(self.n_steps, dtype=np.float64)
        return times

    def counts(self, name: str) -> NDArray[np.int64]:
        """Spikes of every neuron of a population, shape (n_samples, n_neurons)."""
        if name not in self.spikes:
            raise ValidationError(f"ClockedResult: no population {name!r}{hint(name, self.spikes)}")
        return self.spikes[name].counts()

    def v(self, name: str, sample: int = 0, neurons: ArrayLike | None = None) -> NDArray[np.floating]:
        """Membrane potentials of a population in one sample, shape (n_steps, n_neurons), before the reset of each step.

        That is what was compared with the threshold. It is not kept: the sample is simulated again, with the same bits.
        `neurons`: only these, in this order.
        """
        graph = self._grid.graph
        if name not in graph.populations:
            raise ValidationError(f"ClockedResult.v: no population {name!r}{hint(str(name), graph.populations)}")
        if not isinstance(sample, (int, np.integer)) or not 0 <= sample < self.n_samples:
            raise ValidationError(f"ClockedResult.v: sample must lie in 0 .. {self.n_samples - 1}, got {sample}")
        runner = GridRunner(self._grid, 1, self.n_steps)
        events = {own: given.block(sample, sample + 1) for own, given in self._inputs.items()}
        runner.forward(events, 1, constants=constant_drive(self._grid, events, 1), first_sample=sample)
        found: NDArray[np.floating] = runner.u(name, 1)[0].copy()
        if neurons is None:
            return found
        size = graph.populations[name].n_neurons
        return found[:, index_array("ClockedResult.v: neurons", neurons, size, "number of neurons")]

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {spikes.n_events}" for name, spikes in self.spikes.items())
        return f"ClockedResult(n_samples={self.n_samples}, n_steps={self.n_steps}, spikes: {counts})"


def simulate_clocked(
    network: Sequential | Network,
    inputs: Spikes | Currents | Any | Mapping[str, Any],
    *,
    dt: float = 1.0,
    n_steps: int | None = None,
    n_threads: int = 1,
    progress: bool = True,
) -> ClockedResult:
    """Simulate a network on a time grid, driven by sparse events.

    Parameters
    ----------
    network : Sequential or Network, of units of the grid (`Leaky`, `IF`, `Synaptic`, `CurrentLIF`) or of `LIF`, `LI`
    inputs : of the only input, or by name: `Spikes`; a `sparse.COO` of shape (n_samples, n_neurons, n_steps), whose
        entries are what a connection multiplies its weight by; or `Currents`
    dt : length of a step, in the unit of the spike times and time constants
    n_steps : number of steps; may be left out if the inputs say it (a COO, currents that are not constant)
    n_threads : threads over blocks of samples; does not change a single bit of the result
    progress : show a bar on standard error once two seconds have passed

    Returns
    -------
    ClockedResult

    Raises
    ------
    ValidationError
        Inputs that do not fit the network or the grid: an event beyond the last step, coordinates out of range, more
        steps than the data have; neurons or delays that cannot be on the grid.
    SimulationError
        A membrane potential is not finite.

    Warns
    -----
    BinningWarning
        Once per input: spikes between two steps (they go to the nearest, rint(t/dt)), or several of a neuron in one
        step (they add up).

    Notes
    -----
    `StepRule` has the equations. A spike is seen by its targets in the same step, or delay/dt steps later; in a loop
    one step later at the earliest. `LIF` and `LI` follow their differential equation exactly from step to step; a spike
    is late by up to a step, and `simulate` has none of that error.

    Cost: per synaptic event one addition; per neuron and step one update, of which 16 are done at once. Samples are run
    in chunks that fit into the cache, so memory grows with the spikes only.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, Leaky, Sequential, Spikes, simulate_clocked
    >>> net = Sequential([Dense(np.array([[0.6]])), Leaky(beta=0.9)])
    >>> result = simulate_clocked(net, Spikes([0, 0], [0, 0], [0.0, 1.0], n_samples=1, n_neurons=1), n_steps=3)
    >>> result.v("output").ravel().round(3), result.spikes["output"].times
    (array([0.6  , 1.14 , 0.026]), array([1.]))
    """
    if not isinstance(network, (Sequential, Network)):
        raise ValidationError(f"simulate_clocked: expected a Sequential or a Network, got {type(network).__name__}")
    grid = GridNetwork(network, dt)
    given = checked_inputs("simulate_clocked", grid.graph, inputs, dt)
    steps = n_steps_of("simulate_clocked", given, n_steps)
    sources = {
        name: GridInput(f"simulate_clocked: input {name!r}", own, grid.graph.inputs[name], dt, steps, grid.dtype)
        for name, own in given.items()
    }
    n_samples = next(iter(sources.values())).n_samples if sources else 1
    names = list(grid.graph.populations)

    def work(block: tuple[int, int]) -> list[list[Spikes]]:
        start, stop = block
        size = chunk_size(grid, steps, stop - start, 1)
        runner = GridRunner(grid, size, steps)
        parts = []
        for low in range(start, stop, size):
            high = min(low + size, stop)
            events = {name: source.block(low, high) for name, source in sources.items()}
            constants = constant_drive(grid, events, high - low)
            runner.forward(events, high - low, constants=constants, first_sample=low)
            parts.append([_spikes_of(runner, name, high - low, grid) for name in names])
            report = bar.reporter()
            if report is not None:
                report((high - low) * steps * grid.dt, sum(spikes.n_events for spikes in parts[-1]))
        return parts

    with BlockPool(n_threads) as pool, TimeBar(0.0, steps * grid.dt, n_samples, enabled=progress) as bar:
        outcomes = pool.map(work, sample_blocks(n_samples))
    chunks = [chunk for outcome in outcomes for chunk in outcome]
    spikes = {name: own for name, own in given.items() if isinstance(own, Spikes)}
    for k, name in enumerate(names):
        none = Spikes([], [], [], n_samples=n_samples, n_neurons=grid.graph.populations[name].n_neurons)
        spikes[name] = concatenate([chunk[k] for chunk in chunks]) if chunks else none
    return ClockedResult(network, grid, sources, spikes, steps)


def _spikes_of(runner: GridRunner, name: str, n_samples: int, grid: GridNetwork) -> Spikes:
    """The spikes of a population in the present chunk, in canonical order as they are."""
    events = runner.events(name)
    n_events = int(events.starts[-1])
    offsets, times = np.empty(n_samples + 1, np.int64), np.empty(n_events)
    spike_events(events.starts, runner.n_steps, grid.dt, offsets, times)
    return Spikes._from_offsets(
        offsets, events.neurons[:n_events].copy(), times, grid.graph.populations[name].n_neurons
    )
