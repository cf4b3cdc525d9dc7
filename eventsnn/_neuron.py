"""What all neurons share: frozen, validated parameters, a scalar or one value per neuron."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._names import NameTable, is_name, listed
from eventsnn._validation import float_array
from eventsnn.errors import ValidationError

__all__ = ["PLAIN_RECEPTOR", "Neuron"]

#: name of the receptor of neurons whose `tau_syn` is not a dict
PLAIN_RECEPTOR = "syn"


class Neuron:
    """Parameters of one kind of neurons; its children are frozen dataclasses.

    Messages name the child: ``LIF.tau_mem: must be > 0, got 0.0``.
    """

    #: fields that are no numeric parameters
    OPTIONS: ClassVar[frozenset[str]] = frozenset()
    #: parameters that may be infinite
    MAY_BE_INFINITE: ClassVar[frozenset[str]] = frozenset()

    def _validate(self, *, allows_receptors: bool) -> None:
        """Replace every numeric parameter by a float or a read-only array; raise where one cannot be."""
        kind = type(self).__name__
        for name in self.parameter_names():
            given = getattr(self, name)
            is_table = allows_receptors and name == "tau_syn" and isinstance(given, Mapping)
            value = _receptor_table(kind, given) if is_table else self._parameter(name, given)
            object.__setattr__(self, name, value)
        sizes = {name: value.size for name, value in self._values() if isinstance(value, np.ndarray)}
        if len(set(sizes.values())) > 1:
            raise ValidationError(f"{kind}: per-neuron parameters differ in length: {sizes}")
        for name, value in self._values():
            if name.startswith("tau_"):
                require(f"{kind}.{name}", value, np.asarray(value) > 0, "must be > 0")

    def _parameter(self, name: str, value: ArrayLike) -> float | NDArray[np.float64]:
        where = f"{type(self).__name__}.{name}"
        return parameter(where, value, may_be_infinite=name in self.MAY_BE_INFINITE)

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Names of the numeric parameters, in declaration order."""
        return tuple(f.name for f in fields(cls) if f.name not in cls.OPTIONS)  # type: ignore[arg-type]

    def _values(self) -> Iterator[tuple[str, Any]]:
        """Name and value of every numeric parameter; of a dict of receptors, one by one."""
        for name in self.parameter_names():
            value = getattr(self, name)
            if isinstance(value, NameTable):
                yield from ((f"{name}[{receptor!r}]", tau) for receptor, tau in value.items())
            else:
                yield name, value

    @property
    def can_spike(self) -> bool:
        """Whether some neuron has a threshold that it can reach."""
        return True

    @property
    def receptors(self) -> tuple[str, ...]:
        """Names of the receptors in order."""
        return (PLAIN_RECEPTOR,)

    @property
    def has_named_receptors(self) -> bool:
        """Whether there are receptors with names of their own."""
        return False

    @property
    def n_neurons(self) -> int | None:
        """Number of neurons if some parameter is given per neuron, else None (any number)."""
        return next((int(value.size) for _, value in self._values() if isinstance(value, np.ndarray)), None)

    @property
    def is_shared(self) -> bool:
        """Whether all neurons have the same parameters."""
        return self.n_neurons is None

    def per_neuron(self, name: str, n_neurons: int) -> NDArray[np.float64]:
        """Parameter `name` as a new contiguous float64 array of shape (n_neurons,).

        Raises
        ------
        ValidationError
            The parameter is given for another number of neurons, or it is a `tau_syn` given per receptor.
        """
        value = getattr(self, name)
        if isinstance(value, NameTable):
            raise ValidationError(
                f"{type(self).__name__}.{name}: given per receptor ({listed(value)}); "
                "ask for one with tau_syn_of(receptor, n_neurons)"
            )
        return self._spread(name, value, n_neurons)

    def _spread(self, name: str, value: ArrayLike, n_neurons: int) -> NDArray[np.float64]:
        array = np.asarray(value, dtype=np.float64)
        if array.ndim and array.size != n_neurons:
            raise ValidationError(
                f"{type(self).__name__}.{name}: given for {array.size} neurons, asked for {n_neurons}"
            )
        return np.broadcast_to(array, n_neurons).copy()

    def __repr__(self) -> str:
        shown = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, NameTable):
                table = ", ".join(f"{receptor!r}: {_shown(tau)}" for receptor, tau in value.items())
                shown.append(f"{field.name}={{{table}}}")
            elif isinstance(value, np.ndarray) or field.name in ("tau_mem", "tau_syn") or value != field.default:
                shown.append(f"{field.name}={_shown(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    return f"array({value.size})" if isinstance(value, np.ndarray) else repr(value)


def _receptor_table(kind: str, given: Mapping[Any, Any]) -> NameTable[float | NDArray[np.float64]]:
    if not given:
        raise ValidationError(f"{kind}.tau_syn: needs at least one receptor, got an empty dict")
    for name in given:
        if not is_name(name):
            raise ValidationError(f"{kind}.tau_syn: receptor names must be strings that are not empty, got {name!r}")
    return NameTable({name: parameter(f"{kind}.tau_syn[{name!r}]", tau) for name, tau in given.items()})


def parameter(name: str, value: ArrayLike, *, may_be_infinite: bool = False) -> float | NDArray[np.float64]:
    """A number, or a read-only array of one per neuron; finite, or perhaps +inf."""
    try:
        array = float_array(name, value)
    except ValueError:  # ragged lists too
        raise ValidationError(f"{name}: must be a number or an array of numbers, got {value!r}") from None
    if array.ndim > 1 or array.size == 0:
        raise ValidationError(f"{name}: must be a scalar or of shape (n_neurons,), got shape {array.shape}")
    finite = np.isfinite(array) | (array == np.inf) if may_be_infinite else np.isfinite(array)
    require(name, array, finite, "must be a number or inf" if may_be_infinite else "must be finite")
    if array.ndim == 0:
        return float(array)
    array.flags.writeable = False
    return array


def require(name: str, value: Any, holds: NDArray[np.bool_], rule: str) -> None:
    """Raise with the first value for which the rule does not hold."""
    holds = np.atleast_1d(holds)
    if not holds.all():
        array = np.atleast_1d(np.asarray(value))
        k = int(np.flatnonzero(~holds)[0])
        place = f" at neuron {k}" if array.size > 1 else ""
        raise ValidationError(f"{name}: {rule}, got {array[k if array.size > 1 else 0]}{place}")
