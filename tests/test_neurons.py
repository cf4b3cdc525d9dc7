import copy
import dataclasses
import pickle

import numpy as np
import pytest

from eventsnn import LI, LIF, ValidationError

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
        (
            {"v_reset": [0.5, 2.0], "v_leak": 3.0},
            r"LIF.v_reset: must be below v_threshold \(1.0\), got 2.0 at neuron 1",
        ),
        ({"tau_syn": {}}, "LIF.tau_syn: needs at least one receptor, got an empty dict"),
        ({"tau_syn": {"": 1.0}}, "LIF.tau_syn: receptor names must be strings that are not empty, got ''"),
        ({"tau_syn": {1: 1.0}}, "LIF.tau_syn: receptor names must be strings that are not empty, got 1"),
        ({"tau_syn": {"exc": 1.0, "inh": 0.0}}, r"LIF.tau_syn\['inh'\]: must be > 0, got 0.0"),
        ({"tau_syn": {"exc": [1.0, -2.0]}}, r"LIF.tau_syn\['exc'\]: must be > 0, got -2.0 at neuron 1"),
        ({"tau_syn": {"exc": np.nan}}, r"LIF.tau_syn\['exc'\]: must be finite, got nan"),
        ({"tau_syn": {"exc": "fast"}}, r"LIF.tau_syn\['exc'\]: must be a number or an array of numbers, got 'fast'"),
        ({"tau_syn": {"exc": {"a": 1.0}}}, r"LIF.tau_syn\['exc'\]: must be a number"),
        ({"tau_syn": {"exc": [[1.0]]}}, r"LIF.tau_syn\['exc'\]: must be a scalar or of shape \(n_neurons,\)"),
        (
            {"tau_syn": {"exc": [1.0, 2.0], "inh": [1.0]}, "t_refrac": [0.0, 1.0]},
            r"differ in length: {\"tau_syn\['exc'\]\": 2, \"tau_syn\['inh'\]\": 1, 't_refrac': 2}",
        ),
        ({"tau_mem": {"exc": 1.0}}, "LIF.tau_mem: must be a number"),
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


def test_lif_takes_one_time_constant_per_receptor():
    given = {"inh": 10e-3, "exc": np.array([5e-3, 6e-3])}
    lif = LIF(tau_mem=20e-3, tau_syn=given)
    given["exc"][0] = given["inh"] = 1.0
    assert lif.receptors == ("inh", "exc")  # the order given
    assert lif.has_named_receptors
    assert lif.n_neurons == 2
    assert not lif.is_shared
    assert lif.tau_syn["inh"] == 10e-3
    assert lif.tau_syn["exc"].tolist() == [5e-3, 6e-3]
    assert repr(lif) == "LIF(tau_mem=0.02, tau_syn={'inh': 0.01, 'exc': array(2)})"
    with pytest.raises(TypeError):
        lif.tau_syn["inh"] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        lif.tau_syn["exc"][0] = 1.0


def test_lif_with_receptors_can_be_shared():
    lif = LIF(tau_mem=2.0, tau_syn={"exc": 1, "inh": 2})
    assert lif.is_shared
    assert lif.n_neurons is None
    assert dict(lif.tau_syn) == {"exc": 1.0, "inh": 2.0}


def test_tau_syn_of_gives_new_contiguous_arrays():
    lif = LIF(tau_mem=20e-3, tau_syn={"inh": 10e-3, "exc": [5e-3, 6e-3]})
    for receptor, expected in (("inh", [10e-3, 10e-3]), ("exc", [5e-3, 6e-3])):
        array = lif.tau_syn_of(receptor, 2)
        assert array.tolist() == expected
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        array[0] = 7.0
        assert lif.tau_syn_of(receptor, 2).tolist() == expected


@pytest.mark.parametrize("tau_syn", [5e-3, [5e-3, 5e-3]])
def test_plain_tau_syn_is_the_receptor_syn(tau_syn):
    lif = LIF(tau_mem=20e-3, tau_syn=tau_syn)
    assert lif.receptors == ("syn",)
    assert not lif.has_named_receptors
    assert lif.tau_syn_of("syn", 2).tolist() == [5e-3, 5e-3]
    assert lif.per_neuron("tau_syn", 2).tolist() == [5e-3, 5e-3]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda lif: lif.per_neuron("tau_syn", 2),
            r"LIF.tau_syn: given per receptor \('exc', 'inh'\); ask for one with tau_syn_of\(receptor, n_neurons\)",
        ),
        (lambda lif: lif.tau_syn_of("exc", 3), r"LIF.tau_syn\['exc'\]: given for 2 neurons, asked for 3"),
        (
            lambda lif: lif.tau_syn_of("ecx", 2),
            "LIF.tau_syn_of: no receptor 'ecx'; did you mean 'exc'[?] there are: 'exc', 'inh'",
        ),
        (lambda lif: lif.tau_syn_of("syn", 2), "no receptor 'syn'; there are: 'exc', 'inh'$"),
        (lambda lif: lif.tau_syn_of(None, 2), "no receptor None; there are: 'exc', 'inh'$"),
    ],
)
def test_receptors_are_asked_for_by_name_and_size(ask, message):
    with pytest.raises(ValidationError, match=message):
        ask(LIF(tau_mem=1.0, tau_syn={"exc": [1.0, 2.0], "inh": 1.0}))


@pytest.mark.parametrize(
    ("change", "rests_above", "starts_below", "v_start"),
    [
        ({}, False, True, [0.0, 0.0]),
        ({"v_leak": 0.9}, False, True, [0.9, 0.9]),
        ({"v_leak": 1.0, "v_reset": -1.0}, False, False, [-1.0, -1.0]),  # on the threshold it comes to rest there
        ({"v_leak": [0.5, 2.0], "v_reset": [-1.0, -2.0]}, True, False, [0.5, -2.0]),
        ({"i_bias": [0.0, 1.5]}, True, True, [0.0, 0.0]),  # charges up from v_leak
        ({"v_leak": 2.0, "i_bias": -1.5}, False, False, [0.0, 0.0]),
    ],
)
def test_v_leak_may_lie_above_threshold(change, rests_above, starts_below, v_start):
    lif = LIF(**(GOOD | change))
    assert lif.rests_above_threshold is rests_above
    assert lif.starts_below_threshold is starts_below
    assert lif.v_start(2).tolist() == v_start
    assert lif.v_start(2).dtype == np.float64


def test_lif_with_receptors_survives_pickling_and_copying():
    lif = LIF(tau_mem=1.0, tau_syn={"exc": [1.0, 2.0], "inh": 3.0})
    for twin in (pickle.loads(pickle.dumps(lif)), copy.deepcopy(lif), dataclasses.replace(lif, max_spikes=1)):
        assert twin.receptors == ("exc", "inh")
        assert twin.tau_syn["exc"].tolist() == [1.0, 2.0]
        assert twin.tau_syn["inh"] == 3.0


def test_lif_survives_pickling():
    lif = LIF(tau_mem=[1.0, 2.0], tau_syn=1, max_spikes=1)
    twin = pickle.loads(pickle.dumps(lif))
    assert repr(twin) == repr(lif)
    assert twin.tau_mem.tolist() == [1.0, 2.0]


# -- leaky integrators --------------------------------------------------------------------------------------------


def test_li_has_the_documented_defaults():
    li = LI(**GOOD)
    assert (li.v_leak, li.i_bias) == (0.0, 0.0)
    assert li.parameter_names() == ("tau_mem", "tau_syn", "v_leak", "i_bias")
    assert li.is_shared
    assert li.n_neurons is None
    assert li.receptors == ("syn",)
    assert not li.has_named_receptors
    assert not li.rests_above_threshold
    assert li.starts_below_threshold


def test_li_takes_one_value_per_neuron():
    li = LI(tau_mem=2.0, tau_syn=[1.0, 2.0], v_leak=[0.5, 0.0], i_bias=0.25)
    assert li.n_neurons == 2
    assert li.tau_syn_of("syn", 2).tolist() == [1.0, 2.0]
    assert li.per_neuron("tau_mem", 2).tolist() == [2.0, 2.0]
    assert li.v_start(2).tolist() == [0.75, 0.25]  # at rest, the bias included
    with pytest.raises(ValidationError, match="LI.tau_syn: given for 2 neurons, asked for 3"):
        li.per_neuron("tau_syn", 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        li.tau_mem = 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau_mem": 0.0}, "LI.tau_mem: must be > 0, got 0.0"),
        ({"tau_syn": [1.0, -1.0]}, "LI.tau_syn: must be > 0, got -1.0 at neuron 1"),
        ({"i_bias": np.inf}, "LI.i_bias: must be finite, got inf"),
        ({"v_leak": [0.0, np.nan]}, "LI.v_leak: must be finite, got nan at neuron 1"),
        ({"tau_syn": {"exc": 1.0}}, "LI.tau_syn: must be a number or an array of numbers, got {'exc': 1.0}"),
        ({"tau_mem": [1.0, 2.0], "tau_syn": [1.0, 2.0, 3.0]}, "LI: per-neuron parameters differ in length"),
    ],
)
def test_li_refuses_bad_parameters(change, message):
    with pytest.raises(ValidationError, match=message):
        LI(**(GOOD | change))


def test_li_repr_and_pickling():
    li = LI(tau_mem=[1.0, 2.0], tau_syn=1, i_bias=0.5)
    assert repr(li) == "LI(tau_mem=array(2), tau_syn=1.0, i_bias=0.5)"
    assert repr(pickle.loads(pickle.dumps(li))) == repr(li)
