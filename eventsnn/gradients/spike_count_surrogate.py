"""What stands in for the derivative of a spike count: a surrogate at spikes, and at the peaks that come next to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._names import hint
from eventsnn._validation import float_array, number
from eventsnn.errors import ValidationError
from eventsnn.gradients.eventprop_sums import VoltageGradient
from eventsnn.gradients.spike_margins import Margins, margins
from eventsnn.simulation.result import Result

__all__ = ["SpikeCountSurrogate"]

#: h(slope u) of each function; all are 1 at the threshold
_SHAPES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "fast_sigmoid": lambda x: 1.0 / (1.0 + np.abs(x)) ** 2,
    "exponential": lambda x: np.exp(-np.abs(x)),
    "triangular": lambda x: np.maximum(1.0 - np.abs(x), 0.0),
}


@dataclass(frozen=True, kw_only=True)
class SpikeCountSurrogate:
    """Surrogate for the derivative of spike counts, as `eventprop` takes it.

    Parameters
    ----------
    function : "fast_sigmoid", "exponential", "triangular" or "constant"
        Derivative h(u) of the smooth step that stands in for the threshold, 1 at u = 0: ``1/(1 + slope |u|)^2``
        (SuperSpike), ``exp(-slope |u|)`` (SLAYER) or ``max(1 - slope |u|, 0)``. "constant" acts at spikes alone and
        never makes a silent neuron fire.
    slope : float, > 0, or None
        How fast h falls with the distance from the threshold. None is 1: h is as wide as v_threshold - v_reset, and
        "triangular" is zero below v_reset. "constant" has none.
    height : float, > 0
        Factor on all of it.

    Notes
    -----
    A spike count is a whole number, so its derivative with respect to a weight is zero wherever it exists, and no exact
    gradient tells how to make or remove a spike. What is put in its place is the derivative of

        n = sum_k H(u(T_k)) + H(u(t_peak)),    u = (v - v_threshold)/(v_threshold - v_reset),    H' = height h

    over the neuron's spikes k, with v just before the spike at the fixed time T_k, where u is 0, and the height of its
    highest peak without a spike (`margins`), where one would appear first. So for every neuron and sample

        dL/dv(T_k-)   = dL/dn height      / (v_threshold - v_reset)       (`d_heights`)
        dL/dv(t_peak) = dL/dn height h(u) / (v_threshold - v_reset)       (`d_v`)

    Left out are peaks of a neuron that has reached its `max_spikes` in the sample, and those that no weight moves:
    where v only falls from its start or reset, or comes up to v_inf at infinite time. So a neuron that its input never
    lifts above its start gets no gradient and stays silent.

    What is a surrogate: these derivatives, and that the T_k are held. What is exact: how the potentials there and the
    peak depend on weights, on the neuron's earlier spikes and, through the times of their spikes, on other neurons.
    The neuron's own v_threshold and v_reset in u are held. That spikes appear or vanish *earlier* in the network is not
    seen; give the counts of those populations a term of their own (`SpikeCountLowerBound`, `SpikeCountTarget`).

    Every spike of a neuron is pushed, and each push also moves the neuron's earlier spikes: for a regular train the
    gradient grows with the square of the count. Very active populations want a small learning rate or `height`.

    On a time grid every step has a surrogate derivative, and slopes of 10 and more are usual. Here a neuron has a
    single peak, and a wide h brings silent neurons back sooner.

    "constant" is the form of Nowotny et al.: a jump of lambda_v by -dL/dn at every spike is ``height = tau_mem
    (v_threshold - v_reset)`` here.

    References
    ----------
    Nowotny, T., Turner, J. P. & Knight, J. C. (2022), arXiv 2212.01232; Zenke, F. & Ganguli, S. (2018), SuperSpike, doi
    10.1162/neco_a_01086; Shrestha, S. B. & Orchard, G. (2018), SLAYER, arXiv 1810.08646; triangular: Bellec, G. et al.
    (2018), arXiv 1803.09574

    Examples
    --------
    >>> from eventsnn import Dense, LIF, Sequential, SpikeCountCrossEntropy, SpikeCountSurrogate, Spikes
    >>> from eventsnn import eventprop, simulate
    >>> net = Sequential([Dense([[2.0, 5.0]]), LIF(tau_mem=2.0, tau_syn=1.0)])
    >>> result = simulate(net, Spikes([0], [0], [0.5], n_samples=1, n_neurons=1))
    >>> counts = result.spikes["output"].counts()
    >>> counts
    array([[0, 1]])
    >>> losses, d_counts = SpikeCountCrossEntropy().value_and_grad(counts, [0])
    >>> gradients = eventprop(result, **SpikeCountSurrogate().arguments(result, {"output": d_counts}))
    >>> gradients.weights[0].round(3)  # descent raises the first weight and lowers the second
    array([[-0.081,  0.264]])
    """

    function: Literal["fast_sigmoid", "exponential", "triangular", "constant"] = "fast_sigmoid"
    slope: float | None = None
    height: float = 1.0

    def __post_init__(self) -> None:
        if self.function not in (*_SHAPES, "constant"):
            raise ValidationError(
                f"SpikeCountSurrogate.function: must be one of {[*_SHAPES, 'constant']}, got {self.function!r}"
            )
        if self.function == "constant":
            if self.slope is not None:
                raise ValidationError(
                    f"SpikeCountSurrogate.slope: 'constant' has none, got {self.slope!r}; leave it out"
                )
        else:
            slope = 1.0 if self.slope is None else self.slope
            object.__setattr__(self, "slope", number("SpikeCountSurrogate.slope", slope, above=0.0))
        object.__setattr__(self, "height", number("SpikeCountSurrogate.height", self.height, above=0.0))

    @property
    def creates_spikes(self) -> bool:
        """Whether it acts on peaks below threshold as well."""
        return self.function != "constant"

    def derivative(self, u: ArrayLike) -> NDArray[np.float64]:
        """``height h(u)``, of the shape of `u`, the distance from the threshold per v_threshold - v_reset.

        That of "constant" is `height` at the threshold and 0 elsewhere.
        """
        distance = np.asarray(u, dtype=np.float64)
        if self.slope is None:
            return np.where(distance == 0.0, self.height, 0.0)
        return self.height * _SHAPES[self.function](self.slope * distance)

    def arguments(
        self, result: Result, d_counts: Mapping[str, ArrayLike], *, n_threads: int = 1
    ) -> dict[str, dict[str, Any]]:
        """dL/d(counts) of populations as the arguments ``d_heights`` and ``d_v`` of `eventprop`.

        Parameters
        ----------
        result : of `simulate`
        d_counts : by population, dL/d(counts), shape (n_samples, n_neurons)
        n_threads : threads over blocks of samples, for the peaks

        Returns
        -------
        dict
            ``{"d_heights": {name: (n_events,)}, "d_v": {name: VoltageGradient}}``, for
            ``eventprop(result, **surrogate.arguments(result, d_counts))``. With "constant" `d_v` is empty.

        Raises
        ------
        ValidationError
            An unknown population, one that cannot fire (`LI`, an input), or derivatives of another shape or not finite.
        """
        where = "SpikeCountSurrogate.arguments"
        if not isinstance(result, Result):
            raise ValidationError(f"{where}: result: expected the Result of simulate, got {type(result).__name__}")
        if not isinstance(d_counts, Mapping):
            raise ValidationError(f"{where}: d_counts: must be a dict by population, got {type(d_counts).__name__}")
        checked = {name: _checked(f"{where}: d_counts", result, name, own) for name, own in d_counts.items()}
        d_heights: dict[str, NDArray[np.float64]] = {}
        d_v: dict[str, VoltageGradient] = {}
        peaks = margins(result, list(checked), n_threads) if self.creates_spikes else None
        for name, own in checked.items():
            spikes = result.spikes[name]
            neuron, n = result._graph.populations[name].neuron, spikes.n_neurons
            unit = neuron.per_neuron("v_threshold", n) - neuron.per_neuron("v_reset", n)
            per_v = own / unit
            d_heights[name] = self.height * per_v[spikes.samples, spikes.neurons]
            if peaks is not None:
                d_v[name] = self._at_peaks(result, name, per_v, unit, peaks)
        return {"d_heights": d_heights, "d_v": d_v}

    def _at_peaks(
        self, result: Result, name: str, per_v: NDArray[np.float64], unit: NDArray[np.float64], peaks: Margins
    ) -> VoltageGradient:
        moves = peaks.moves(name) & _may_fire(result, name)
        d_peak = np.zeros(moves.shape)
        d_peak[moves] = per_v[moves] * self.derivative(-peaks.gain[name][moves] / unit[np.nonzero(moves)[1]])
        return peaks.voltage_gradient(name, d_peak)


def _may_fire(result: Result, name: str) -> NDArray[np.bool_]:
    """Which neurons have spikes left in a sample, (n_samples, n_neurons)."""
    most = result._graph.populations[name].neuron.max_spikes  # it can spike
    counts = result.spikes[name].counts()
    return np.ones(counts.shape, bool) if most is None else counts < most


def _checked(where: str, result: Result, name: str, given: ArrayLike) -> NDArray[np.float64]:
    populations = result._graph.populations
    if name not in populations:
        known = [known for known, population in populations.items() if population.can_spike]
        raise ValidationError(f"{where}: no population {name!r}{hint(name, populations)}; those that fire are {known}")
    if not populations[name].can_spike:
        kind = type(populations[name].neuron).__name__
        raise ValidationError(f"{where}: population {name!r} never fires ({kind}); use a loss on its potential")
    array = float_array(f"{where}[{name!r}]", given)
    shape = (result.n_samples, populations[name].n_neurons)
    if array.shape != shape:
        raise ValidationError(f"{where}[{name!r}]: must have shape (n_samples, n_neurons) = {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValidationError(f"{where}[{name!r}]: must be finite")
    return array
