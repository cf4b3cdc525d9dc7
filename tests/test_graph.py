import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsnn import LIF, Dense, Network, Population, Projection, Sparse, ValidationError

CELL = LIF(tau_mem=20e-3, tau_syn=5e-3)
TWO_RECEPTORS = LIF(tau_mem=20e-3, tau_syn={"ampa": 5e-3, "gaba": 10e-3})
SIZES = {"drive": 2, "noise": 3, "exc": 4, "inh": 5, "out": 6}


def dense(source, target):
    return Dense(np.ones((SIZES[source], SIZES[target])))


def projection(source, target, receptor=None):
    return Projection(source, target, dense(source, target), receptor)


def network(*projections, inputs=("drive", "noise"), cells=None):
    populations = cells or {"exc": CELL, "inh": TWO_RECEPTORS, "out": CELL}
    return Network(
        {name: SIZES[name] for name in inputs},
        {name: Population(cell, SIZES[name]) for name, cell in populations.items()},
        projections,
    )


def graph(names, arrows):
    """A network of populations of one neuron each, with an arrow "ab" from a to b."""
    return Network(
        {"input": 1},
        {name: Population(CELL, 1) for name in names},
        [Projection("input" if a == "*" else a, b, Dense([[1.0]])) for a, b in arrows],
    )


# -- populations and projections ----------------------------------------------------------------------------------


def test_population_keeps_what_it_is_given():
    population = Population(TWO_RECEPTORS, np.int64(7))
    assert population.neuron is TWO_RECEPTORS
    assert type(population.n_neurons) is int
    assert repr(Population(CELL, 7)) == "Population(LIF(tau_mem=0.02, tau_syn=0.005), 7)"


@pytest.mark.parametrize(
    ("neuron", "n_neurons", "message"),
    [
        (CELL, 0, r"n_neurons: must be an integer >= 1 and below 2\*\*31, got 0"),
        (CELL, -3, "n_neurons: must be an integer >= 1 .* got -3"),
        (CELL, 2.0, "n_neurons: must be an integer >= 1 .* got 2.0"),
        (CELL, True, "n_neurons: must be an integer >= 1 .* got True"),
        (CELL, None, "n_neurons: must be an integer >= 1 .* got None"),
        (CELL, 2**31, "n_neurons: must be an integer >= 1 .* got 2147483648"),
        ("LIF", 3, "neuron: must be a LIF or LI, or a StepNeuron such as Leaky, got str"),
        (LIF(tau_mem=[1.0, 2.0], tau_syn=1.0), 3, "n_neurons: 3, but the LIF parameters are given for 2"),
        (
            LIF(tau_mem=1.0, tau_syn={"a": 1.0, "b": [1.0, 2.0]}),
            3,
            "n_neurons: 3, but the LIF parameters are given for 2",
        ),
    ],
)
def test_population_refuses(neuron, n_neurons, message):
    with pytest.raises(ValidationError, match=f"Population.{message}"):
        Population(neuron, n_neurons)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "exc", dense("exc", "exc")), "source: must be the name of a population, got ''"),
        ((3, "exc", dense("exc", "exc")), "source: must be the name of a population, got 3"),
        (("exc", None, dense("exc", "exc")), "target: must be the name of a population, got None"),
        (("exc", "exc", np.ones((4, 4))), "connection: must be a connection such as Dense or Sparse, got ndarray"),
        (("exc", "exc", CELL), "connection: must be a connection such as Dense or Sparse, got LIF"),
        (("exc", "exc", dense("exc", "exc"), ""), "receptor: must be a name or None, got ''"),
        (("exc", "exc", dense("exc", "exc"), 1), "receptor: must be a name or None, got 1"),
    ],
)
def test_projection_refuses(arguments, message):
    with pytest.raises(ValidationError, match=f"Projection.{message}"):
        Projection(*arguments)


# -- networks -----------------------------------------------------------------------------------------------------


def test_network_knows_its_sizes():
    net = network()
    assert net.n_inputs == {"drive": 2, "noise": 3}
    assert net.sizes == SIZES
    assert list(net.sizes) == ["drive", "noise", "exc", "inh", "out"]


def test_network_is_frozen():
    given_inputs, given_projections = {"drive": 2}, [projection("drive", "exc")]
    net = Network(given_inputs, {"exc": Population(CELL, 4)}, given_projections)
    given_inputs["drive"] = 9
    given_projections.clear()
    assert net.n_inputs == {"drive": 2}
    assert len(net.projections) == 1
    net.n_inputs["drive"] = 9  # a dict of its own
    assert net.n_inputs == {"drive": 2}
    for table in (net.inputs, net.populations):
        with pytest.raises(TypeError):
            table["more"] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        net.projections = ()


def test_network_fills_in_the_only_receptor():
    one = LIF(tau_mem=1.0, tau_syn={"nmda": 1.0})
    net = network(
        projection("drive", "exc"),
        projection("exc", "inh", "gaba"),
        projection("inh", "out"),
        projection("drive", "exc", "syn"),
        cells={"exc": CELL, "inh": TWO_RECEPTORS, "out": one},
    )
    assert [p.receptor for p in net.projections] == ["syn", "gaba", "nmda", "syn"]


def test_network_keeps_the_connections_themselves():
    given_projections = [projection("drive", "exc"), projection("exc", "exc")]
    for given_one, kept in zip(given_projections, network(*given_projections).projections, strict=True):
        assert kept.connection is given_one.connection


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: network(projection("drive", "exc"), Projection("ecx", "exc", dense("exc", "exc"))),
            r"projections\[1\] \(ecx -> exc\): no input or population 'ecx'; did you mean 'exc'\? "
            "there are: 'drive', 'noise', 'exc', 'inh', 'out'$",
        ),
        (
            lambda: network(Projection("exc", "xyz", dense("exc", "exc"))),
            r"projections\[0\] \(exc -> xyz\): no population 'xyz'; there are: 'exc', 'inh', 'out'$",
        ),
        (
            lambda: network(Projection("exc", "drive", dense("exc", "drive"))),
            r"projections\[0\] \(exc -> drive\): 'drive' is an input, and inputs only send; a target must be one of "
            "'exc', 'inh', 'out'$",
        ),
        (
            lambda: network(Projection("drive", "exc", dense("exc", "exc"))),
            "the connection has n_pre=4, but 'drive' has 2 channels",
        ),
        (
            lambda: network(Projection("exc", "out", dense("inh", "out"))),
            "the connection has n_pre=5, but 'exc' has 4 neurons",
        ),
        (
            lambda: network(Projection("exc", "out", dense("exc", "exc"))),
            "the connection has n_post=4, but 'out' has 6 neurons",
        ),
        (
            lambda: network(projection("exc", "inh")),
            r"projections\[0\] \(exc -> inh\): 'inh' has several receptors \('ampa', 'gaba'\); say which one with "
            r"Projection\(..., receptor=...\)",
        ),
        (
            lambda: network(projection("exc", "inh", "gabaa")),
            "'inh' has no receptor 'gabaa'; did you mean 'gaba'[?] there are: 'ampa', 'gaba'$",
        ),
        (lambda: network(projection("exc", "out", "ampa")), "'out' has no receptor 'ampa'; there are: 'syn'$"),
        (lambda: network("exc->inh"), r"projections\[0\]: must be a Projection, got str"),
        (
            lambda: Network({}, {"exc": Population(CELL, 4)}, projection("exc", "exc")),
            "projections: must be a list of Projection, got Projection",
        ),
        (
            lambda: Network({}, {"exc": Population(CELL, 4)}, None),
            "projections: must be a list of Projection, got None",
        ),
        (lambda: Network({}, {"exc": Population(CELL, 4)}, "ab"), "projections: must be a list of Projection, got str"),
        (lambda: Network({"drive": 2}, {}, []), "populations: needs at least one population"),
        (lambda: Network({}, {"exc": CELL}, []), r"populations\['exc'\]: must be a Population, got LIF"),
        (lambda: Network({}, {"": Population(CELL, 1)}, []), "populations: names must be strings .* got ''"),
        (lambda: Network({3: 1}, {"exc": Population(CELL, 1)}, []), "inputs: names must be strings .* got 3"),
        (lambda: Network([("drive", 2)], {"exc": Population(CELL, 1)}, []), "inputs: must be a dict by name, got list"),
        (lambda: Network({}, [Population(CELL, 1)], []), "populations: must be a dict by name, got list"),
        (
            lambda: Network({"drive": 0}, {"exc": Population(CELL, 1)}, []),
            r"inputs\['drive'\]: must be an integer >= 1 .* got 0",
        ),
        (
            lambda: Network({"drive": [2]}, {"exc": Population(CELL, 1)}, []),
            r"inputs\['drive'\]: must be an integer >= 1 .* got \[2\]",
        ),
        (
            lambda: Network({"exc": 2, "a": 1}, {"exc": Population(CELL, 1)}, []),
            "populations: 'exc' already names an input; names must differ between them",
        ),
    ],
)
def test_network_refuses_what_does_not_fit(build, message):
    with pytest.raises(ValidationError, match=f"Network..*{message}"):
        build()


def test_parameters_are_the_arrays_themselves_under_unique_names():
    sparse = Sparse(np.eye(4))
    net = network(
        projection("drive", "exc"),
        projection("drive", "exc"),
        Projection("exc", "exc", sparse),
        projection("exc", "inh", "ampa"),
        projection("exc", "inh", "gaba"),
        projection("drive", "exc"),
    )
    names = ["drive->exc", "drive->exc#2", "exc->exc", "exc->inh", "exc->inh#2", "drive->exc#3"]
    assert net.projection_names == tuple(names)
    assert list(net.parameters()) == [f"{name}.weight" for name in names]
    for array, one in zip(net.parameters().values(), net.projections, strict=True):
        assert array is one.connection.weight
    assert net.parameters()["exc->exc.weight"].shape == (4,)


def test_projection_names_stay_unique_for_odd_names():
    one = Dense([[1.0]])
    net = Network(
        {}, {name: Population(CELL, 1) for name in ("a", "b", "b#2")},
        [Projection("a", "b", one), Projection("a", "b#2", one), Projection("a", "b", one)],
    )  # fmt: skip
    assert net.projection_names == ("a->b", "a->b#2", "a->b#3")


def test_projections_to_a_population():
    net = network(projection("drive", "exc"), projection("exc", "inh", "ampa"), projection("inh", "exc"))
    assert net.projections_to("exc") == (net.projections[0], net.projections[2])
    assert net.projections_to("out") == ()
    for name, message in (("ecx", "no population 'ecx'; did you mean 'exc'"), ("drive", "no population 'drive'")):
        with pytest.raises(ValidationError, match=f"Network.projections_to: {message}"):
            net.projections_to(name)


@pytest.mark.parametrize(
    ("names", "arrows", "parts"),
    [
        ("a", [], [("a",)]),
        ("abc", ["ab", "bc"], [("a",), ("b",), ("c",)]),
        ("cba", ["ab", "bc"], [("a",), ("b",), ("c",)]),  # what drives comes first
        ("cab", [], [("c",), ("a",), ("b",)]),  # nothing to choose by but the declaration
        ("abcd", ["ca", "*b"], [("b",), ("c",), ("a",), ("d",)]),
        ("dcba", ["ad"], [("c",), ("b",), ("a",), ("d",)]),
        ("ab", ["ab", "ba"], [("a", "b")]),
        ("ba", ["ab", "ba", "ab", "aa"], [("b", "a")]),
        ("abcd", ["ab", "bc", "ca", "cd"], [("a", "b", "c"), ("d",)]),
        ("dabc", ["ab", "ba", "bd", "dc", "cd"], [("a", "b"), ("d", "c")]),
        ("aebdc", ["ab", "ba", "ac", "cd", "dc", "ee", "*e"], [("a", "b"), ("e",), ("d", "c")]),
    ],
)
def test_components_are_strong_and_in_order(names, arrows, parts):
    assert graph(names, arrows).components() == parts


@settings(deadline=None)
@given(n=st.integers(1, 7), data=st.data())
def test_components_are_what_their_definition_says(n, data):
    names = "abcdefg"[:n]
    arrows = data.draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=12))
    net = graph(names, arrows)
    reach = np.eye(n, dtype=bool)
    for a, b in arrows:
        reach[names.index(a), names.index(b)] = True
    for _ in range(n):
        reach = reach | (reach.astype(int) @ reach.astype(int) > 0)
    parts = net.components()
    assert sorted(name for part in parts for name in part) == list(names)
    place = {name: k for k, part in enumerate(parts) for name in part}
    for j, a in enumerate(names):
        for k, b in enumerate(names):
            assert (place[a] == place[b]) == (reach[j, k] and reach[k, j])
            assert not reach[j, k] or place[a] <= place[b]
    for part in parts:
        assert list(part) == sorted(part)  # declared in the order of the alphabet
        assert net.is_recurrent(part) == (len(part) > 1 or (part[0], part[0]) in arrows)


def test_is_recurrent():
    net = graph("abcd", ["ab", "bc", "cb", "dd", "*a"])
    assert net.components() == [("a",), ("b", "c"), ("d",)]
    assert [net.is_recurrent(part) for part in net.components()] == [False, True, True]
    assert net.is_recurrent("d")
    assert not net.is_recurrent("a")
    with pytest.raises(
        ValidationError, match="Network.is_recurrent: no population 'input'; there are: 'a', 'b', 'c', 'd'"
    ):
        net.is_recurrent(("input",))


@pytest.mark.parametrize(
    ("inputs", "projections", "cell", "is_driven"),
    [
        ([], [("exc", "exc")], {}, False),
        (["drive"], [("exc", "exc")], {}, False),  # the input goes nowhere
        (["drive"], [("drive", "exc")], {}, True),
        ([], [], {"v_leak": 1.5}, True),
        ([], [], {"v_leak": 1.0}, False),
        ([], [], {"i_bias": [0.0, 0.0, 0.0, 1.5]}, True),
        ([], [], {"v_leak": 1.5, "i_bias": -1.0}, False),
    ],
)
def test_is_driven(inputs, projections, cell, is_driven):
    cell = LIF(tau_mem=1.0, tau_syn=1.0, **cell)
    net = network(*(projection(*ends) for ends in projections), inputs=inputs, cells={"exc": cell})
    assert net.is_driven is is_driven


def test_network_repr_is_a_summary():
    net = network(projection("drive", "exc"), Projection("exc", "inh", Sparse(np.eye(4, 5), delay=1e-3), "gaba"))
    assert repr(net) == (
        "Network(\n"
        "    inputs: drive 2, noise 3\n"
        "    populations: exc 4, inh 5, out 6\n"
        "    drive -> exc: Dense(2 -> 4, float64)\n"
        "    exc -> inh, receptor 'gaba': Sparse(4 -> 5, 4 synapses, float64, delay 0.001)\n"
        ")"
    )
    assert "inputs: none\n" in repr(Network({}, {"exc": Population(CELL, 1)}))


def test_network_survives_pickling():
    net = network(projection("drive", "exc"), projection("exc", "inh", "gaba"))
    twin = pickle.loads(pickle.dumps(net))
    assert repr(twin) == repr(net)
    assert twin.sizes == net.sizes
    for old, new in zip(net.parameters().values(), twin.parameters().values(), strict=True):
        np.testing.assert_array_equal(old, new)
