import numpy as np
import pytest

from eventsnn import (
    LIF,
    SGD,
    Dense,
    FirstSpikeMSE,
    Network,
    Population,
    Projection,
    Sequential,
    Sparse,
    Spikes,
    Trainer,
    ValidationError,
    loss_and_grad,
)

NEURON = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)


def dense(n_pre, n_post):
    return Dense(np.arange(n_pre * n_post, dtype=float).reshape(n_pre, n_post))


def network():
    return Sequential([dense(4, 3), NEURON, dense(3, 2), NEURON])


@pytest.mark.parametrize(
    ("n_layers", "names"),
    [(1, ["output"]), (2, ["hidden", "output"]), (4, ["hidden1", "hidden2", "hidden3", "output"])],
)
def test_sequential_names_its_populations(n_layers, names):
    assert [layer.name for layer in Sequential([dense(2, 2), NEURON] * n_layers).layers] == names


def test_sequential_knows_its_shape():
    chain = network()
    assert (chain.n_inputs, chain.n_outputs) == (4, 2)
    assert [layer.n_neurons for layer in chain.layers] == [3, 2]
    assert repr(chain) == "Sequential(input 4 -> hidden 3 -> output 2)"


def test_weights_and_parameters_are_the_arrays_themselves():
    chain = network()
    assert list(chain.parameters()) == ["hidden.weight", "output.weight"]
    for layer, weight, parameter in zip(chain.layers, chain.weights, chain.parameters().values(), strict=True):
        assert layer.connection.weight is weight is parameter


@pytest.mark.parametrize(
    ("parts", "names", "message"),
    [
        ([], None, "got 0 parts"),
        ([dense(2, 2)], None, "in turn, got 1 parts"),
        ([NEURON, dense(2, 2)], None, "parts 0 and 1 must be a connection and neurons, got LIF and Dense"),
        ([dense(2, 2), NEURON, NEURON, NEURON], None, "parts 2 and 3"),
        (
            [Sparse(np.eye(2)), NEURON],
            None,
            "got Sparse and LIF; a chain takes Dense and LIF, for anything else there is",
        ),
        (
            [dense(2, 2), NEURON, dense(2, 2), LIF(tau_mem=1.0, tau_syn={"exc": 1.0, "inh": 2.0})],
            None,
            r"'output' has named receptors \('exc', 'inh'\), .* give tau_syn as a number .*, or build a Network",
        ),
        ([dense(2, 2), LIF(tau_mem=1.0, tau_syn={"exc": 1.0})], None, r"'output' has named receptors \('exc',\)"),
        ([dense(4, 3), NEURON, dense(2, 2), NEURON], None, "'output' expects 2 inputs, but 'hidden' has 3 neurons"),
        ([dense(4, 3), LIF(tau_mem=[1.0, 2.0], tau_syn=1)], None, "'output' has 3 neurons, but .* given for 2"),
        ([dense(2, 2), NEURON], ["a", "b"], "needs 1 different names"),
        ([dense(2, 2), NEURON], ["input"], "none of them 'input'"),
        ([dense(2, 2), NEURON] * 2, ["a", "a"], "needs 2 different names"),
        ([dense(2, 2), NEURON] * 2, "ab", "needs 2 different names"),
        ([dense(2, 2), NEURON], [1], "needs 1 different names"),
        ([dense(2, 2), NEURON], [""], "needs 1 different names"),
    ],
)
def test_sequential_refuses_what_does_not_chain(parts, names, message):
    with pytest.raises(ValidationError, match=f"Sequential.*{message}"):
        Sequential(parts, names)


def test_with_parameters_gives_a_new_network():
    chain = network()
    other = chain.with_parameters({name: weight + 1 for name, weight in chain.parameters().items()})
    for old, new in zip(chain.weights, other.weights, strict=True):
        np.testing.assert_array_equal(new, old + 1)
    assert other.layers[0].neuron is NEURON
    assert repr(other) == repr(chain)


def test_with_parameters_keeps_names():
    chain = Sequential([dense(2, 2), NEURON], ["cells"])
    assert chain.with_parameters(chain.parameters()).layers[0].name == "cells"


def test_with_parameters_refuses_other_names_and_shapes():
    chain = network()
    with pytest.raises(ValidationError, match=r"no parameter 'weight'; did you mean"):
        chain.with_parameters({"weight": np.ones((4, 3))})
    with pytest.raises(ValidationError, match=r"no parameter 'hidden.tau'"):
        chain.parameter("hidden.tau")
    with pytest.raises(ValidationError, match=r"hidden.weight must have shape \(4, 3\), got \(3, 4\)"):
        chain.with_parameters(chain.parameters() | {"hidden.weight": np.ones((3, 4))})
    with pytest.raises(ValidationError, match="must be finite"):
        chain.with_parameters(chain.parameters() | {"hidden.weight": np.full((4, 3), np.nan)})


def test_astype_copies_the_weights():
    chain = network()
    fast = chain.astype(np.float32)
    assert [weight.dtype for weight in fast.weights] == [np.float32, np.float32]
    assert not np.shares_memory(fast.astype("float32").weights[0], fast.weights[0])
    np.testing.assert_array_equal(fast.weights[0], chain.weights[0])  # small integers are exact in float32


@pytest.mark.parametrize("dtype", ["int64", "float16", "complex128"])
def test_astype_refuses_other_types(dtype):
    with pytest.raises(ValidationError, match=f"must be float32 or float64, got {dtype}"):
        network().astype(dtype)


# -- delays, and the chain as a graph -----------------------------------------------------------------------------


def delayed():
    """A chain with a delay in its second connection."""
    parts = network()
    return Sequential([parts.layers[0].connection, NEURON, Dense(np.ones((3, 2)), delay=[[1.0, 2.0]]), NEURON])


def test_sequential_knows_whether_it_has_delays():
    assert not network().has_delay
    assert network().is_layerwise
    assert delayed().has_delay
    assert delayed().is_layerwise
    several = LIF(tau_mem=2.0, tau_syn=1.0)
    for delay, layerwise in ((np.ones((3, 1)), True), (np.ones((1, 2)), False), (np.zeros((3, 2)), True)):
        assert Sequential([Dense(np.ones((3, 2)), delay), several]).is_layerwise is layerwise


@pytest.mark.parametrize(("v_leak", "is_layerwise"), [(0.5, True), (1.0, False), (2.0, False), ([0.0, 2.0], False)])
def test_sequential_is_layerwise_if_all_start_below_threshold(v_leak, is_layerwise):
    chain = Sequential([dense(3, 2), LIF(tau_mem=2.0, tau_syn=1.0, v_leak=v_leak)])
    assert not chain.has_delay
    assert chain.is_layerwise is is_layerwise


def test_with_parameters_and_astype_keep_delays():
    chain = delayed()
    for other in (chain.with_parameters(chain.parameters()), chain.astype(np.float32)):
        assert [layer.connection.delay.tolist() for layer in other.layers] == [0.0, [[1.0, 2.0]]]


def test_as_network_has_the_same_parts():
    chain = delayed()
    graph = chain.as_network()
    assert dict(graph.inputs) == {"input": 4}
    assert graph.sizes == {"input": 4, "hidden": 3, "output": 2}
    assert [(p.source, p.target, p.receptor) for p in graph.projections] == [
        ("input", "hidden", "syn"),
        ("hidden", "output", "syn"),
    ]
    for layer, projection in zip(chain.layers, graph.projections, strict=True):
        assert projection.connection is layer.connection
        assert graph.populations[layer.name].neuron is layer.neuron
    assert graph.components() == [("hidden",), ("output",)]
    assert list(graph.parameters()) == ["input->hidden.weight", "hidden->output.weight"]


# -- what the first-spike gradients refuse ------------------------------------------------------------------------

ONE_BY_TWO = Spikes([0], [0], [0.1], n_samples=1, n_neurons=1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Sequential(
                [
                    Dense(np.ones((1, 2)), delay=np.ones((1, 2))),
                    LIF(tau_mem=2.0, tau_syn=1.0, i_bias=0.1, max_spikes=1),
                ]
            ),
            "with dendritic or synaptic delays need neurons without i_bias: population 'output'",
        ),
        (
            lambda: Sequential([dense(1, 2), LIF(tau_mem=2.0, tau_syn=1.0, v_leak=1.5, max_spikes=1)]),
            "need neurons that start below threshold: population 'output' has v_leak=1.5 and v_threshold=1.0",
        ),
        (
            lambda: Network(
                {"input": 1},
                {"output": Population(LIF(tau_mem=2.0, tau_syn={"a": 1.0, "b": 2.0}, max_spikes=1), 2)},
                [Projection("input", "output", dense(1, 2), "a")],
            ),
            "needs? a Sequential.* got Network",
        ),
    ],
    ids=["delays", "start above threshold", "receptors"],
)
def test_first_spike_gradients_refuse(build, message):
    loss = FirstSpikeMSE(t_correct=1.0, t_wrong=2.0)
    with pytest.raises(ValidationError, match=f"first-spike gradients {message}"):
        loss_and_grad(build(), ONE_BY_TWO, [0], loss)
    network = build()
    if isinstance(network, Sequential):  # any Network is trained by EventProp
        with pytest.raises(ValidationError, match=f"first-spike gradients {message}"):
            Trainer(network, loss, SGD(learning_rate=0.1), seed=0)
