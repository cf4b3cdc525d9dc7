"""Delays that learn: a map that keeps them positive, groups of neurons that share one, a price on long ones.

What the optimiser changes ("raw") has no unit: delay = tau_syn * map(raw), tau_syn of the neurons the delay leads to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from eventsnn._synapses import real_array
from eventsnn._validation import number
from eventsnn.errors import ValidationError

__all__ = ["ClippedDelay", "DelayL2", "LearnedDelay", "Positivity", "ShiftedDelay", "SigmoidDelay"]
__all__ += ["add_prices", "delay_prices", "learned_delay", "price_of"]


class Positivity(ABC):
    """A map from raw values to delays >= 0, both in units of tau_syn, element by element."""

    @abstractmethod
    def delay(self, raw: NDArray[np.floating]) -> NDArray[np.floating]:
        """The delays."""

    @abstractmethod
    def slope(self, raw: NDArray[np.floating]) -> NDArray[np.floating]:
        """d delay / d raw."""

    @abstractmethod
    def raw(self, delay: NDArray[np.floating]) -> NDArray[np.floating]:
        """The inverse of `delay`; not finite where a delay is outside the range of the map."""

    def rectify(self, raw: NDArray[np.floating]) -> None:  # noqa: B027 - not every map needs it
        """What an update must be followed by, in place."""


@dataclass(frozen=True)
class SigmoidDelay(Positivity):
    """delay = tau_syn (shift + scale sigmoid(raw)): between shift and shift + scale, which are never reached.

    Parameters
    ----------
    scale : width of the range, in units of tau_syn, > 0
    shift : its lower end, >= 0

    Raises
    ------
    ValidationError
        A width <= 0 or a lower end < 0.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import SigmoidDelay
    >>> SigmoidDelay(scale=1.5, shift=2.0).delay(np.array([-np.inf, 0.0, np.inf]))
    array([2.  , 2.75, 3.5 ])
    """

    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        number("SigmoidDelay.scale", self.scale, above=0.0)
        number("SigmoidDelay.shift", self.shift, at_least=0.0)

    def delay(self, raw: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Positivity.delay`."""
        return np.asarray(self.shift + self.scale * expit(raw))

    def slope(self, raw: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Positivity.slope`."""
        return np.asarray(self.scale * (expit(raw) * expit(-raw)))  # 1 - expit(raw) would lose digits

    def raw(self, delay: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Positivity.raw`."""
        inside = (delay - self.shift) / self.scale
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(inside) - np.log1p(-inside))


@dataclass(frozen=True)
class ClippedDelay(Positivity):
    """delay = tau_syn raw; after each update negative values become 0.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import ClippedDelay
    >>> raw = np.array([-0.5, 0.2])
    >>> ClippedDelay().rectify(raw)
    >>> raw
    array([0. , 0.2])
    """

    def delay(self, raw: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Positivity.delay`."""
        return raw

    def slope(self, raw: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Positivity.slope`."""
        return np.ones(raw.shape)

    def raw(self, delay: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Positivity.raw`."""
        return np.where(delay >= 0.0, delay, np.nan)

    def rectify(self, raw: NDArray[np.floating]) -> None:
        """See `Positivity.rectify`."""
        np.maximum(raw, 0.0, out=raw)


@dataclass(frozen=True)
class ShiftedDelay(ClippedDelay):
    """delay = tau_syn raw; if the least one is negative after an update, all are moved up until it is 0.

    A common shift of all delays of a connection only moves its targets in time, where nothing else reaches them:
    differences between delays are kept, which `ClippedDelay` loses.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import ShiftedDelay
    >>> raw = np.array([-0.5, 0.2])
    >>> ShiftedDelay().rectify(raw)
    >>> raw
    array([0. , 0.7])
    """

    def rectify(self, raw: NDArray[np.floating]) -> None:
        """See `Positivity.rectify`."""
        raw -= min(0.0, float(raw.min()))


@dataclass(frozen=True)
class LearnedDelay:
    """How the delays of a connection are learned.

    Parameters
    ----------
    rate : factor on the learning rate, which is that of the raw values; 0 leaves the delays as they are
    positivity : `SigmoidDelay`, `ClippedDelay` or `ShiftedDelay`
    shared_pre : groups of so many presynaptic neurons have one delay: with n of them, neuron i has that of neuron
        i mod (n / shared_pre); n must be a multiple
    shared_post : the same for the postsynaptic neurons

    Raises
    ------
    ValidationError
        A negative rate, a number of neurons below 1, or a map of another type.

    Notes
    -----
    delay[j, k] = tau_syn * map(raw[j mod m_pre, k mod m_post]), and the gradient of a raw value is the sum of those of
    its delays, times tau_syn * map'(raw). tau_syn is the synaptic time constant of the target, the median where its
    neurons differ.

    References
    ----------
    .. [1] J. Goeltz, J. Weber, L. Kriener et al. (2025). DelGrad: exact event-based gradients for training delays and
       weights on spiking neuromorphic hardware. Nature Communications 16. arXiv 2404.19165.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import LearnedDelay, SigmoidDelay
    >>> learned = LearnedDelay(rate=0.3, positivity=SigmoidDelay(scale=2.0), shared_pre=2)
    >>> learned.delay_of(np.array([[0.0], [1.0]]), unit=5e-3).round(5).tolist()
    [[0.005], [0.00731], [0.005], [0.00731]]
    """

    rate: float = 1.0
    positivity: Positivity = ClippedDelay()
    shared_pre: int = 1
    shared_post: int = 1

    def __post_init__(self) -> None:
        number("LearnedDelay.rate", self.rate, at_least=0.0)
        if not isinstance(self.positivity, Positivity):
            raise ValidationError(
                "LearnedDelay.positivity: must be SigmoidDelay(...), ClippedDelay() or ShiftedDelay(), got "
                f"{self.positivity!r}"
            )
        for name in ("shared_pre", "shared_post"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValidationError(f"LearnedDelay.{name}: must be an integer >= 1, got {value!r}")

    def raw_of(self, where: str, delay: ArrayLike, unit: float) -> NDArray[np.floating]:
        """The raw values behind delays in the unit of the spike times; `where` names them in errors.

        Raises
        ------
        ValidationError
            Neurons that do not divide into the groups, delays that differ inside one, or lie outside the map's range.
        """
        delays = real_array(where, delay).astype(np.float64)
        values = delays
        if (self.shared_pre, self.shared_post) != (1, 1):
            if delays.ndim != 2:
                raise ValidationError(
                    f"{where}: delays of shape {delays.shape} cannot be shared; give them as (n_pre, 1), (1, n_post) "
                    "or (n_pre, n_post)"
                )
            for what, n, share in zip(
                ("shared_pre", "shared_post"), delays.shape, (self.shared_pre, self.shared_post), strict=True
            ):
                if n % share:
                    raise ValidationError(
                        f"{where}: LearnedDelay.{what} is {share}, but delays of shape {delays.shape} have {n} there, "
                        "which is no multiple of it"
                    )
            values = delays[: delays.shape[0] // self.shared_pre, : delays.shape[1] // self.shared_post]
            unlike = delays != np.tile(values, (self.shared_pre, self.shared_post))
            if unlike.any():
                j, k = (int(i) for i in np.argwhere(unlike)[0])
                first = j % values.shape[0], k % values.shape[1]
                raise ValidationError(
                    f"{where}: [{j}, {k}] and {list(first)} share a delay, but are {delays[j, k]:g} and "
                    f"{delays[first]:g}; begin with equal ones"
                )
        raw = self.positivity.raw(values / unit)
        bad = ~np.isfinite(raw)
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            at = f" at {list(place)}" if place else ""
            raise ValidationError(
                f"{where}: {self.positivity} cannot give a delay of {values[place] / unit:g} tau_syn{at}; begin inside "
                "its range"
            )
        return np.array(raw)

    def delay_of(
        self, raw: NDArray[np.floating], unit: float, out: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """The delays of the connection, in the unit of the spike times; into `out` if it is given."""
        delays = self.positivity.delay(raw) * unit
        if (self.shared_pre, self.shared_post) != (1, 1):
            delays = np.tile(delays, (self.shared_pre, self.shared_post))
        if out is None:
            return np.asarray(delays, np.float64)
        out[...] = delays
        return out

    def raw_gradient(
        self, raw: NDArray[np.floating], d_delay: NDArray[np.floating], unit: float
    ) -> NDArray[np.floating]:
        """The gradient of the raw values from that of the connection's delays: the chain rule, summed over groups."""
        if (self.shared_pre, self.shared_post) != (1, 1):
            groups = (self.shared_pre, raw.shape[0], self.shared_post, raw.shape[1])
            d_delay = d_delay.reshape(groups).sum(axis=(0, 2))
        return np.asarray(d_delay * (self.positivity.slope(raw) * unit))

    def rectify(self, raw: NDArray[np.floating]) -> None:
        """What an update of the raw values must be followed by, in place."""
        self.positivity.rectify(raw)


@dataclass(frozen=True)
class DelayL2:
    """Price on long delays: the loss of every sample gains ``strength mean((delay/tau_syn)^2)``.

    Parameters
    ----------
    strength : float, > 0
    of : "delay", or "raw" for the mean square of the raw values (`LearnedDelay`)

    Raises
    ------
    ValidationError
        A strength that is not positive, or another `of`.

    Notes
    -----
    The mean is over all values that are learned, of all connections; a shared one counts once.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import DelayL2, LearnedDelay
    >>> value, gradients = DelayL2(0.1).value_and_grad({"hidden.delay": (LearnedDelay(), np.array([[1.0], [3.0]]))})
    >>> value, gradients["hidden.delay"].tolist()
    (0.5, [[0.1], [0.30000000000000004]])
    """

    strength: float
    of: Literal["delay", "raw"] = "delay"

    def __post_init__(self) -> None:
        number("DelayL2.strength", self.strength, above=0.0)
        if self.of not in ("delay", "raw"):
            raise ValidationError(f'DelayL2.of: must be "delay" or "raw", got {self.of!r}')

    def value_and_grad(
        self, delays: Mapping[str, tuple[LearnedDelay, NDArray[np.floating]]]
    ) -> tuple[float, dict[str, NDArray[np.floating]]]:
        """Value, and its gradient with respect to the raw values, by name."""
        n_values = sum(raw.size for _, raw in delays.values())
        total, gradients = 0.0, {}
        for name, (learned, raw) in delays.items():
            own, slope = (
                (raw, 1.0) if self.of == "raw" else (learned.positivity.delay(raw), learned.positivity.slope(raw))
            )
            total += float(np.square(own).sum())
            gradients[name] = np.asarray(2.0 * self.strength / n_values * own * slope)
        return self.strength * total / max(n_values, 1), gradients


def delay_prices(regularizers: Sequence[Any], delays: Mapping[str, Any]) -> list[DelayL2]:
    """The prices among regularisers; raise if there are some but no `delays` that are learned."""
    prices = [term for term in regularizers if isinstance(term, DelayL2)]
    if prices and not delays:
        raise ValidationError("Trainer.regularizers: DelayL2 needs delays that are learned: set learn={'delay': ...}")
    return prices


def add_prices(
    prices: Sequence[DelayL2],
    delays: Mapping[str, tuple[LearnedDelay, NDArray[np.floating]]],
    outcomes: Sequence[Any],
    gradients: Mapping[str, NDArray[np.floating]],
) -> None:
    """Add the prices to the losses of every sample of a batch, and their gradients to those of its first block.

    outcomes : of all blocks of the batch; gradients : by name, shape (n_blocks, n_elements), sums over samples
    """
    n_samples = sum(outcome.losses.size for outcome in outcomes)
    for price in prices:
        value, found = price.value_and_grad(delays)
        for outcome in outcomes:
            np.add(outcome.losses, value, out=outcome.losses)
        for name, gradient in found.items():
            gradients[name][0] += n_samples * gradient.reshape(-1)


def price_of(prices: Sequence[DelayL2], delays: Mapping[str, tuple[LearnedDelay, NDArray[np.floating]]]) -> float:
    """What all prices add to the loss of a sample."""
    return sum(price.value_and_grad(delays)[0] for price in prices)


def learned_delay(where: str, value: Any) -> LearnedDelay:
    """A `LearnedDelay`, or the one with default settings and a number as its rate."""
    return value if isinstance(value, LearnedDelay) else LearnedDelay(number(where, value, at_least=0.0))
