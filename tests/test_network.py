import numpy as np
import pytest

from eventsnn import LIF, Dense, Sequential, ValidationError

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
    with pytest.raises(ValidationError, match=r"expected \['hidden.weight', 'output.weight'\], got \['weight'\]"):
        chain.with_parameters({"weight": np.ones((4, 3))})
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
