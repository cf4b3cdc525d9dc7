import dataclasses
import pickle

import numpy as np
import pytest

from eventsnn import LIF, ValidationError

GOOD = {"tau_mem": 20e-3, "tau_syn": 5e-3}


def test_lif_has_the_documented_defaults():
    lif = LIF(**GOOD)
    assert (lif.v_threshold, lif.v_reset, lif.v_leak, lif.t_refrac, lif.i_bias) == (1.0, 0.0, 0.0, 0.0, 0.0)
    assert lif.max_spikes is None
    assert lif.is_shared
    assert lif.n_neurons is None


def test_lif_parameter_names_are_the_numeric_fields():
    assert LIF.parameter_names() == ("tau_mem", "tau_syn", "v_threshold", "v_reset", "v_leak", "t_refrac", "i_bias")


def test_lif_takes_one_value_per_neuron():
    given = np.array([1.0, 2.0, 3.0])
    lif = LIF(tau_mem=given, tau_syn=1)
    given[0] = 9.0
    assert lif.tau_mem.tolist() == [1.0, 2.0, 3.0]
    assert lif.n_neurons == 3
    assert not lif.is_shared
    with pytest.raises(ValueError, match="read-only"):
        lif.tau_mem[0] = 5.0


def test_per_neuron_gives_new_contiguous_arrays():
    lif = LIF(tau_mem=[1.0, 2.0], tau_syn=0.5)
    for name, expected in (("tau_mem", [1.0, 2.0]), ("tau_syn", [0.5, 0.5])):
        array = lif.per_neuron(name, 2)
        assert array.tolist() == expected
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        array[0] = 7.0  # its own memory
        assert lif.per_neuron(name, 2).tolist() == expected


def test_per_neuron_refuses_another_number_of_neurons():
    for tau_mem in ([1.0, 2.0], [1.0]):
        with pytest.raises(ValidationError, match=r"LIF.tau_mem: given for \d neurons, asked for 3"):
            LIF(tau_mem=tau_mem, tau_syn=0.5).per_neuron("tau_mem", 3)


def test_lif_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LIF(**GOOD).tau_mem = 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau_mem": 0.0}, "LIF.tau_mem: must be > 0, got 0.0"),
        ({"tau_syn": -0.01}, "LIF.tau_syn: must be > 0, got -0.01"),
        ({"tau_syn": [1.0, -1.0]}, "LIF.tau_syn: must be > 0, got -1.0 at neuron 1"),
        ({"tau_mem": np.nan}, "LIF.tau_mem: must be finite, got nan"),
        ({"tau_mem": np.inf}, "LIF.tau_mem: must be finite, got inf"),
        ({"v_leak": [0.0, np.nan]}, "LIF.v_leak: must be finite, got nan at neuron 1"),
        ({"tau_mem": "1.0"}, "LIF.tau_mem: must be a number"),
        ({"tau_mem": None}, "LIF.tau_mem: must be a number"),
        ({"tau_mem": 1j}, "LIF.tau_mem: must be a number"),
        ({"tau_mem": True}, "LIF.tau_mem: must be a number"),
        ({"tau_mem": [[1.0], [1.0, 2.0]]}, "LIF.tau_mem: must be a number"),
        ({"tau_mem": [[1.0]]}, r"shape \(1, 1\)"),
        ({"tau_mem": []}, r"shape \(0,\)"),
        ({"tau_mem": [1.0, 2.0], "tau_syn": [1.0, 2.0, 3.0]}, "differ in length: {'tau_mem': 2, 'tau_syn': 3}"),
        ({"t_refrac": -1e-3}, "LIF.t_refrac: must be >= 0, got -0.001"),
        ({"v_reset": 1.0}, r"LIF.v_reset: must be below v_threshold \(1.0\), got 1.0"),
        ({"v_leak": 2.0}, r"LIF.v_leak: must be below v_threshold \(1.0\), got 2.0"),
        ({"v_threshold": [1.0, -1.0]}, "LIF.v_reset: must be below v_threshold"),
        ({"max_spikes": 0}, "LIF.max_spikes: must be an integer >= 1 or None, got 0"),
        ({"max_spikes": 1.5}, "LIF.max_spikes"),
        ({"max_spikes": True}, "LIF.max_spikes"),
    ],
)
def test_lif_refuses_bad_parameters(change, message):
    with pytest.raises(ValidationError, match=message):
        LIF(**(GOOD | change))


def test_lif_repr_shows_what_differs_from_the_defaults():
    assert repr(LIF(**GOOD)) == "LIF(tau_mem=0.02, tau_syn=0.005)"
    assert repr(LIF(tau_mem=[1.0, 2.0], tau_syn=1, max_spikes=1)) == "LIF(tau_mem=array(2), tau_syn=1.0, max_spikes=1)"


def test_lif_survives_pickling():
    lif = LIF(tau_mem=[1.0, 2.0], tau_syn=1, max_spikes=1)
    twin = pickle.loads(pickle.dumps(lif))
    assert repr(twin) == repr(lif)
    assert twin.tau_mem.tolist() == [1.0, 2.0]
