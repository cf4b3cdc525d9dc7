"""`run_chain`: what a chain of a time grid answers, layer by layer, without a record of its potentials."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._validation import count
from eventsnn.currents import Currents
from eventsnn.errors import SimulationError, ValidationError
from eventsnn.network import Sequential
from eventsnn.simulation.chain_chunk import Chunk, ChunkOutcome, Scratch, Stop
from eventsnn.simulation.chain_plan import ChainPlan
from eventsnn.simulation.grid_inputs import GridInput
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.simulation.progress import TimeBar
from eventsnn.spikes import Spikes

__all__ = ["ChainRun", "run_chain"]

#: numbers of a dense layer's inputs that are held at once, in bytes
_INPUT_BYTES = 2**21
#: samples that are taken through a layer together, at most
_TOGETHER = 96


@dataclass
class ChainRun(ChunkOutcome):
    """What `run_chain` found.

    Attributes
    ----------
    outputs : (n_samples, n_steps, n_outputs), potentials of the readout after every step; NaN after a sample's last
    n_steps_used : (n_samples,), steps that were run, fewer than n_steps where `stop` said so
    n_spikes : (n_samples, n_layers), of all layers that fire
    n_synaptic_events : (n_samples, n_layers), additions of a weight at the inputs of every layer, the readout too; none
        for a constant input, whose product is taken once
    counts : by name of a layer that fires, if asked for: (n_samples, n_neurons) int32
    potentials : likewise, the potentials that are left
    """

    @property
    def n_steps(self) -> int:
        """Steps of the longest sample."""
        return int(self.outputs.shape[1])

    def classes(self, n_steps: int | None = None) -> NDArray[np.int64]:
        """The largest potential after `n_steps` steps, or after the last of each sample, (n_samples,)."""
        last = self.n_steps_used
        if n_steps is not None:
            last = np.minimum(count("ChainRun.classes: n_steps", n_steps), last)
        found: NDArray[np.int64] = self.outputs[np.arange(len(last)), last - 1].argmax(axis=1)
        return found


def run_chain(
    network: Sequential,
    inputs: Spikes | Currents | Any,
    *,
    n_steps: int,
    n_threads: int = 1,
    progress: bool = True,
    keep: Iterable[str] = (),
    stop: Stop | None = None,
    window: int | None = None,
) -> ChainRun:
    """Run a chain of convolutions, pools and dense layers on a time grid and return the readout's potentials.

    The spikes are those of `simulate_clocked`; all steps of one layer are run before the next, nothing but events is
    kept between them, and a layer that fires often is multiplied out instead.

    Parameters
    ----------
    network : Sequential of `Dense` or `Conv2d`, either behind one pool, and `IF` or `Leaky` that reset in the same
        step; the last layer is a readout, ``IF(v_threshold=inf)``
    inputs : `Currents`, constant (their product with the weights is taken once) or per step, `Spikes` with a time unit
        of one step, or a `sparse.COO`; as in `simulate_clocked`
    n_steps : number of steps
    n_threads : threads over blocks of samples; does not change a single bit of the result
    progress : show a bar on standard error once two seconds have passed
    keep : "counts" and "potentials" of the layers that fire, if wanted
    stop : called with outputs (n_samples, steps so far, n_outputs) after every `window` steps; samples for which it is
        True are run no further
    window : steps between two calls of `stop`; all by default

    Returns
    -------
    ChainRun

    Raises
    ------
    ValidationError
        A chain or inputs that do not fit; n_steps < 1.
    SimulationError
        A potential of the readout is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import IF, Currents, Dense, Sequential
    >>> from eventsnn.simulation.chain_inference import run_chain
    >>> net = Sequential([Dense([[1.0]]), IF(v_threshold=1.0), Dense([[1.0]]), IF(v_threshold=np.inf)])
    >>> run_chain(net, Currents([[0.375]]), n_steps=6).outputs[0, :, 0]
    array([0., 0., 1., 1., 1., 2.])
    """
    plan = ChainPlan(network)
    n_steps = count("run_chain: n_steps", n_steps)
    window = n_steps if window is None else count("run_chain: window", window)
    for name, value in (("n_steps", n_steps), ("window", window)):
        if value < 1:
            raise ValidationError(f"run_chain: {name}: must be >= 1, got {value}")
    wanted = frozenset([keep] if isinstance(keep, str) else keep)
    if wanted - {"counts", "potentials"}:
        raise ValidationError(f"run_chain: keep takes 'counts' and 'potentials', got {sorted(wanted)}")
    source = GridInput("run_chain: inputs", inputs, plan.n_inputs, 1.0, n_steps, plan.dtype)

    def work(block: tuple[int, int]) -> list[ChunkOutcome]:
        runs, scratch = [], Scratch()
        for low in range(block[0], block[1], size):
            high = min(low + size, block[1])
            runs.append(Chunk(plan, source, low, high, n_steps, wanted, scratch).run(stop, window))
            report = bar.reporter()
            if report is not None:
                report(float((high - low) * n_steps), int(runs[-1].n_spikes.sum()))
        return runs

    is_constant = isinstance(inputs, Currents) and inputs.is_constant
    size = _samples_together(plan, min(window, n_steps), is_constant)
    bar = TimeBar(0.0, float(n_steps), source.n_samples, enabled=progress)
    with _one_blas_thread(), BlockPool(n_threads) as pool, bar:
        runs = [run for runs in pool.map(work, sample_blocks(source.n_samples)) for run in runs]
    if not runs:
        runs = [Chunk(plan, source, 0, 0, n_steps, wanted, Scratch()).run(None, n_steps)]

    found = ChainRun.joined(runs)
    last = found.outputs[np.arange(source.n_samples), found.n_steps_used - 1]
    if not np.isfinite(last).all():
        s, k = (int(i) for i in np.argwhere(~np.isfinite(last))[0])
        raise SimulationError(
            f"the potential of readout neuron {k} in sample {s} is {last[s, k]}; are the weights or inputs too large?"
        )
    return found


def _samples_together(plan: ChainPlan, n_steps: int, is_constant: bool) -> int:
    """Samples of a chunk: dense layers take their weights once for all of them."""
    layers = plan.layers[1:] if is_constant else plan.layers
    dense = max([layer.weight.shape[1] for layer in layers if not layer.is_convolution or layer.is_readout], default=1)
    return int(max(1, min(_TOGETHER, _INPUT_BYTES // (dense * n_steps * plan.dtype.itemsize))))


@functools.cache
def _blas() -> Any:
    """The libraries of matrix products; finding them takes a millisecond, as long as a hundred images."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _one_blas_thread() -> Any:
    """Matrix products in one thread: the pool has the others, and the order of a sum must not depend on them."""
    return _blas().limit(limits=1, user_api="blas")
