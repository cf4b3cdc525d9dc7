"""Networks of any graph: populations of neurons, and the projections between them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._names import NameTable, hint, is_name, listed
from eventsnn._neuron import PLAIN_RECEPTOR, Neuron
from eventsnn._parameters import parameter_names, parameters_of, value_of, with_values
from eventsnn._synapses import checked_size
from eventsnn.connections import Connection
from eventsnn.errors import ValidationError

__all__ = ["Network", "Population", "Projection"]


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one kind.

    Parameters
    ----------
    neuron : LIF or LI, or a unit of a time grid such as Leaky
        Their parameters, shared or one value per neuron.
    n_neurons : int, >= 1

    Raises
    ------
    ValidationError
        `n_neurons` is no integer >= 1, or `neuron` has parameters for another number of neurons.

    Examples
    --------
    >>> from eventsnn import LIF, Population
    >>> Population(LIF(tau_mem=20e-3, tau_syn=5e-3), 800)
    Population(LIF(tau_mem=0.02, tau_syn=0.005), 800)
    """

    neuron: Any  # a Neuron; of which kind, the engines ask
    n_neurons: int

    def __post_init__(self) -> None:
        if not isinstance(self.neuron, Neuron):
            raise ValidationError(
                "Population.neuron: must be a LIF or LI, or a StepNeuron such as Leaky, "
                f"got {type(self.neuron).__name__}"
            )
        object.__setattr__(self, "n_neurons", checked_size("Population.n_neurons", self.n_neurons))
        if self.neuron.n_neurons not in (None, self.n_neurons):
            raise ValidationError(
                f"Population.n_neurons: {self.n_neurons}, but the {type(self.neuron).__name__} parameters are given "
                f"for {self.neuron.n_neurons}"
            )

    @property
    def can_spike(self) -> bool:
        """Whether its neurons have a threshold; those of a readout (`LI`) have none."""
        return bool(self.neuron.can_spike)

    def __repr__(self) -> str:
        return f"Population({self.neuron!r}, {self.n_neurons})"


@dataclass(frozen=True, eq=False)
class Projection:
    """A connection from an input or a population to a population.

    Parameters
    ----------
    source, target : str
        Names in the network.
    connection : Dense, Sparse or another `eventsnn.connections.Connection`
        Its n_pre and n_post are the sizes of source and target.
    receptor : str, optional
        The receptor of the target that the spikes arrive at; None (the default) is its only one.

    Raises
    ------
    ValidationError
        Something of another type, or an empty name. Whether the names exist is for `Network` to say.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, Projection
    >>> Projection("exc", "inh", Dense(np.ones((4, 2))), receptor="ampa")
    Projection(exc -> inh, receptor 'ampa': Dense(4 -> 2, float64))
    """

    source: str
    target: str
    connection: Connection
    receptor: str | None = None

    def __post_init__(self) -> None:
        for role in ("source", "target"):
            if not is_name(getattr(self, role)):
                raise ValidationError(
                    f"Projection.{role}: must be the name of a population, got {getattr(self, role)!r}"
                )
        if not isinstance(self.connection, Connection):
            raise ValidationError(
                "Projection.connection: must be a connection such as Dense or Sparse, "
                f"got {type(self.connection).__name__}"
            )
        if self.receptor is not None and not is_name(self.receptor):
            raise ValidationError(f"Projection.receptor: must be a name or None, got {self.receptor!r}")

    def __repr__(self) -> str:
        receptor = "" if self.receptor in (None, PLAIN_RECEPTOR) else f", receptor {self.receptor!r}"
        return f"Projection({self.source} -> {self.target}{receptor}: {self.connection!r})"


@dataclass(frozen=True, eq=False)
class Network:
    """Inputs, populations and the projections between them: any graph, loops and self-projections included.

    Parameters
    ----------
    inputs : dict of int by name
        Number of channels of each input, >= 1; may be empty.
    populations : dict of Population by name
        At least one, in the order in which simultaneous spikes are taken; no name twice, nor the name of an input.
    projections : sequence of Projection
        Several between the same two add up. A population may have none.

    Attributes
    ----------
    inputs, populations : the same, read-only, in the order given
    projections : tuple, every `receptor` filled in

    Raises
    ------
    ValidationError
        Unknown or doubled names, an input as target, a source that never spikes (`LI`), sizes that do not fit, a
        receptor that the target does not have or that is missing where it has several.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import LIF, Dense, Network, Population, Projection, Sparse
    >>> rng = np.random.default_rng(0)
    >>> cell = LIF(tau_mem=20e-3, tau_syn={"ampa": 5e-3, "gaba": 10e-3})
    >>> network = Network(
    ...     inputs={"drive": 10},
    ...     populations={"exc": Population(cell, 80), "inh": Population(cell, 20)},
    ...     projections=[
    ...         Projection("drive", "exc", Dense(np.full((10, 80), 0.4)), receptor="ampa"),
    ...         Projection("exc", "inh", Sparse.random(80, 20, in_degree=8, weight=0.5, rng=rng), receptor="ampa"),
    ...         Projection("inh", "exc", Dense(np.full((20, 80), -0.1), delay=1e-3), receptor="gaba"),
    ...     ],
    ... )
    >>> network
    Network(
        inputs: drive 10
        populations: exc 80, inh 20
        drive -> exc, receptor 'ampa': Dense(10 -> 80, float64)
        exc -> inh, receptor 'ampa': Sparse(80 -> 20, 160 synapses, float64)
        inh -> exc, receptor 'gaba': Dense(20 -> 80, float64, delay 0.001)
    )
    >>> network.components(), network.is_recurrent(("exc", "inh"))
    ([('exc', 'inh')], True)
    """

    inputs: Mapping[str, int]
    populations: Mapping[str, Population]
    projections: tuple[Projection, ...] = ()

    def __post_init__(self) -> None:
        for role in ("inputs", "populations"):
            table = getattr(self, role)
            if not isinstance(table, Mapping):
                raise ValidationError(f"Network.{role}: must be a dict by name, got {type(table).__name__}")
            for name in table:
                if not is_name(name):
                    raise ValidationError(f"Network.{role}: names must be strings that are not empty, got {name!r}")
        inputs = {name: checked_size(f"Network.inputs[{name!r}]", n) for name, n in self.inputs.items()}
        if not self.populations:
            raise ValidationError("Network.populations: needs at least one population")
        for name, population in self.populations.items():
            if not isinstance(population, Population):
                raise ValidationError(
                    f"Network.populations[{name!r}]: must be a Population, got {type(population).__name__}"
                )
        doubled = [name for name in inputs if name in self.populations]
        if doubled:
            raise ValidationError(
                f"Network.populations: {listed(doubled)} already names an input; names must differ between them"
            )
        object.__setattr__(self, "inputs", NameTable(inputs))
        object.__setattr__(self, "populations", NameTable(self.populations))
        given: Any = self.projections
        if isinstance(given, (Projection, str, Mapping)) or not isinstance(given, Iterable):
            raise ValidationError(f"Network.projections: must be a list of Projection, got {type(given).__name__}")
        object.__setattr__(self, "projections", tuple(self._fitted(k, p) for k, p in enumerate(given)))

    def _fitted(self, k: int, projection: Any) -> Projection:
        """The projection with its receptor filled in, or an error that says where it does not fit."""
        if not isinstance(projection, Projection):
            raise ValidationError(f"Network.projections[{k}]: must be a Projection, got {type(projection).__name__}")
        source, target, connection = projection.source, projection.target, projection.connection
        where = f"Network.projections[{k}] ({source} -> {target})"
        sizes = self.sizes
        if source not in sizes:
            raise ValidationError(f"{where}: no input or population {source!r}{hint(source, sizes)}")
        if target in self.inputs:
            raise ValidationError(
                f"{where}: {target!r} is an input, and inputs only send; a target must be one of "
                f"{listed(self.populations)}"
            )
        if target not in self.populations:
            raise ValidationError(f"{where}: no population {target!r}{hint(target, self.populations)}")
        if source in self.populations and not self.populations[source].can_spike:
            raise ValidationError(
                f"{where}: the {type(self.populations[source].neuron).__name__} neurons of {source!r} never spike, so "
                "nothing can start from them; use LIF neurons or leave the projection out"
            )
        for role, name, size in (("n_pre", source, connection.n_pre), ("n_post", target, connection.n_post)):
            if size != sizes[name]:
                what = "channels" if name in self.inputs else "neurons"
                raise ValidationError(
                    f"{where}: the connection has {role}={size}, but {name!r} has {sizes[name]} {what}"
                )
        receptors = self.populations[target].neuron.receptors
        receptor = projection.receptor
        if receptor is None:
            if len(receptors) > 1:
                raise ValidationError(
                    f"{where}: {target!r} has several receptors ({listed(receptors)}); "
                    "say which one with Projection(..., receptor=...)"
                )
            return replace(projection, receptor=receptors[0])
        if receptor not in receptors:
            raise ValidationError(f"{where}: {target!r} has no receptor {receptor!r}{hint(receptor, receptors)}")
        return projection

    # -- sizes and names -------------------------------------------------------------------------------------------

    @property
    def n_inputs(self) -> dict[str, int]:
        """Number of channels by input."""
        return dict(self.inputs)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of channels or neurons of every input and population, the inputs first."""
        return {**self.inputs, **{name: population.n_neurons for name, population in self.populations.items()}}

    @property
    def projection_names(self) -> tuple[str, ...]:
        """A name of its own for every projection: ``"exc->inh"``, the second between the same two ``"exc->inh#2"``."""
        names: dict[str, None] = {}
        for projection in self.projections:
            stem = name = f"{projection.source}->{projection.target}"
            k = 1
            while name in names:
                k += 1
                name = f"{stem}#{k}"
            names[name] = None
        return tuple(names)

    def parameters(self) -> dict[str, NDArray[np.floating]]:
        """Trainable arrays by name, the arrays themselves: ``{"exc->inh.weight": ...}``, as in `projection_names`.

        Of a `Dense` (n_pre, n_post), of a `Sparse` (n_synapses,), of a `Conv2d` its kernels; none of an `AvgPool2d`.
        """
        return {
            f"{name}.weight": projection.connection.weight
            for name, projection in zip(self.projection_names, self.projections, strict=True)
            if "weight" in parameters_of(projection.connection)
        }

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """For `parameter` and `with_parameters`: ``"exc->inh.weight"``, ``"exc->inh.delay"``, ``"exc.tau_mem"`` ...

        With named receptors there is one time constant for each, ``"exc.tau_syn[ampa]"``.
        """
        return tuple(parameter_names(self))

    def parameter(self, name: str) -> NDArray[np.floating]:
        """A copy of one parameter, in the shape it was given in: of shape () if it is shared.

        Raises
        ------
        ValidationError
            There is no such name among `parameter_names`.
        """
        return value_of("Network.parameter", self, name)

    def with_parameters(self, values: Mapping[str, ArrayLike]) -> Network:
        """The same network with some parameters replaced, shapes unchanged.

        Weights are float32 where float32 is given, else float64.

        Raises
        ------
        ValidationError
            Unknown names, other shapes, values that the connection or neuron does not take.

        Examples
        --------
        >>> from eventsnn import LIF, Dense, Network, Population, Projection
        >>> cells = {"a": Population(LIF(tau_mem=20e-3, tau_syn=5e-3), 1)}
        >>> network = Network({"in": 2}, cells, [Projection("in", "a", Dense([[1.0], [2.0]]))])
        >>> network.with_parameters({"a.tau_mem": 10e-3, "in->a.weight": [[3.0], [4.0]]}).parameter("a.tau_mem")
        array(0.01)
        """
        found: Network = with_values("Network.with_parameters", self, values)
        return found

    # -- the graph -------------------------------------------------------------------------------------------------

    def projections_to(self, name: str) -> tuple[Projection, ...]:
        """The projections that drive a population, in order."""
        self._require_population("projections_to", name)
        return tuple(projection for projection in self.projections if projection.target == name)

    def components(self) -> list[tuple[str, ...]]:
        """The strongly connected parts of the graph of populations, each after all that drive it.

        Populations that can reach each other are in one part, in the order of declaration; so are the parts, as far as
        what drives what leaves a choice. A chain gives one population each.
        """
        from scipy.sparse import csgraph, csr_array  # on first use: `import eventsnn` stays light

        names = list(self.populations)
        place = {name: k for k, name in enumerate(names)}
        edges = {(place[p.source], place[p.target]) for p in self.projections if p.source in place}
        sources, targets = np.array(sorted(edges), dtype=np.int32).reshape(-1, 2).T  # int32: for scipy 1.11
        graph = csr_array((np.ones(len(edges)), (sources, targets)), shape=(len(names), len(names)))
        labels = csgraph.connected_components(graph, connection="strong")[1].tolist()
        # A part goes by the place of its first member, so that the heap gives the earliest declared of those ready.
        head = [labels.index(label) for label in labels]
        followers: dict[int, set[int]] = {part: set() for part in head}
        for j, k in edges:
            if head[j] != head[k]:
                followers[head[j]].add(head[k])
        n_before = Counter(later for group in followers.values() for later in group)
        ready = [part for part in followers if n_before[part] == 0]
        heapq.heapify(ready)
        parts = []
        while ready:
            part = heapq.heappop(ready)
            parts.append(tuple(name for name, k in zip(names, head, strict=True) if k == part))
            for later in followers[part]:
                n_before[later] -= 1
                if n_before[later] == 0:
                    heapq.heappush(ready, later)
        return parts

    def is_recurrent(self, component: Iterable[str]) -> bool:
        """Whether spikes of a part (one of `components()`) come back to it, be it a population to itself."""
        inside = {component} if isinstance(component, str) else set(component)
        for name in inside:
            self._require_population("is_recurrent", name)
        return any(p.source in inside and p.target in inside for p in self.projections)

    @property
    def is_driven(self) -> bool:
        """Whether anything can happen from rest: some input projects, or some neuron fires without input."""
        return any(p.source in self.inputs for p in self.projections) or any(
            population.neuron.rests_above_threshold for population in self.populations.values()
        )

    def _require_population(self, method: str, name: str) -> None:
        if name not in self.populations:
            raise ValidationError(f"Network.{method}: no population {name!r}{hint(name, self.populations)}")

    def __repr__(self) -> str:
        sizes = {name: f"{name} {n}" for name, n in self.sizes.items()}
        lines = [
            "inputs: " + (", ".join(sizes[name] for name in self.inputs) or "none"),
            "populations: " + ", ".join(sizes[name] for name in self.populations),
            *(repr(projection)[len("Projection(") : -1] for projection in self.projections),
        ]
        return "Network(\n" + "".join(f"    {line}\n" for line in lines) + ")"
