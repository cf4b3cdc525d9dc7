"""What is recorded of the parameters, and that it survives a savepoint."""

import numpy as np
import pytest

from eventsnn import LIF, Dense, Network, ParameterMonitor, Population, Projection, Sequential
from eventsnn.errors import ValidationError
from eventsnn.training.checkpoint import read_savepoint, write_savepoint

CELL = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
RNG = np.random.default_rng(0)


def chain(weight, delay=0.0):
    return Sequential([Dense(weight, delay), CELL])


def test_record_keeps_quantiles_and_single_entries():
    monitor = ParameterMonitor()
    weights = [RNG.normal(size=(20, 51)).astype(np.float32) for _ in range(3)]
    for epoch, weight in enumerate(weights):
        monitor.record(epoch, chain(weight, np.abs(weight[:1])))
    assert monitor.epochs.tolist() == [0, 1, 2]
    assert monitor.names == ("output.weight", "output.delay")
    course = monitor.course("output.weight")
    assert (course.shape, course.is_complete, course.is_constant) == ((20, 51), False, False)
    for k, weight in enumerate(weights):
        # The recorded quantiles are entries: with 1020 of them a quantile lies next to the interpolated one.
        wanted = np.quantile(weight, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], method="nearest")
        np.testing.assert_array_equal(course.quantiles[k], wanted)
        np.testing.assert_array_equal(course.values[k], weight.ravel()[course.followed])
    assert course.followed.tolist() == [0, 146, 291, 437, 582, 728, 873, 1019]
    assert monitor.course("output.delay").shape == (1, 51)


def test_record_of_few_entries_is_complete():
    monitor = ParameterMonitor()
    for epoch in range(2):
        monitor.record(epoch, chain(np.array([[1.0, 2.0], [3.0, 4.0 + epoch]]), 0.5))
    weight, delay = monitor.course("output.weight"), monitor.course("output.delay")
    assert weight.is_complete
    np.testing.assert_array_equal(weight.values, [[1, 2, 3, 4], [1, 2, 3, 5]])
    assert (delay.shape, delay.values.tolist(), delay.is_constant) == ((), [[0.5], [0.5]], True)


def test_record_of_a_network_follows_time_constants_too():
    network = Network({"in": 1}, {"a": Population(CELL, 1)}, [Projection("in", "a", Dense([[1.0]], 0.1))])
    monitor = ParameterMonitor()
    monitor.record(0, network)
    assert set(monitor.names) == {"in->a.weight", "in->a.delay", "a.tau_mem", "a.tau_syn"}
    assert monitor.course("a.tau_mem").values.tolist() == [[2.0]]


def test_record_of_an_earlier_epoch_drops_what_came_after():
    monitor = ParameterMonitor()
    for epoch in (0, 1, 2, 3):
        monitor.record(epoch, chain(np.full((1, 1), float(epoch))))
    monitor.record(2, chain(np.full((1, 1), 9.0)))
    assert monitor.epochs.tolist() == [0, 1, 2]
    assert monitor.course("output.weight").values.ravel().tolist() == [0.0, 1.0, 9.0]


def test_state_dict_survives_a_savepoint_up_to_an_epoch(tmp_path):
    monitor = ParameterMonitor()
    for epoch in range(4):
        monitor.record(epoch, chain(RNG.normal(size=(3, 5)), 0.25))
    write_savepoint(tmp_path / "epoch_2", {"monitor": monitor.state_dict(2)})
    again = ParameterMonitor()
    again.load_state_dict(read_savepoint(tmp_path / "epoch_2")["monitor"])
    assert again.epochs.tolist() == [0, 1, 2]
    for name in monitor.names:
        one, other = monitor.course(name), again.course(name)
        assert one.shape == other.shape
        np.testing.assert_array_equal(one.quantiles[:3], other.quantiles)
        np.testing.assert_array_equal(one.values[:3], other.values)
    again.record(3, chain(np.ones((3, 5)), 0.25))
    assert again.epochs.tolist() == [0, 1, 2, 3]


def test_monitor_of_nothing():
    monitor = ParameterMonitor()
    assert (monitor.epochs.size, monitor.names) == (0, ())
    again = ParameterMonitor()
    again.load_state_dict(monitor.state_dict())
    assert again.epochs.size == 0


def test_monitor_rejects_another_network_and_unknown_names():
    monitor = ParameterMonitor()
    monitor.record(0, chain(np.ones((1, 2))))
    with pytest.raises(ValidationError, match=r"ParameterMonitor.record: .*output.weight.*before they were"):
        monitor.record(1, chain(np.ones((2, 2))))
    with pytest.raises(ValidationError, match=r"no parameter 'weight'; there are output.weight, output.delay"):
        monitor.course("weight")
