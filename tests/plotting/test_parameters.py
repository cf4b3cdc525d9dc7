from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LIF, Dense, ParameterMonitor, Sequential, Spikes, simulate
from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_learned_spike, plot_parameters

CELL = LIF(tau_mem=20e-3, tau_syn=10e-3, max_spikes=1)
INPUT = Spikes.from_first_times([[10e-3]])


def monitor_of(networks):
    monitor = ParameterMonitor()
    for epoch, network in enumerate(networks):
        monitor.record(epoch, network)
    return monitor


def single(weight, delay):
    return Sequential([Dense([[weight]], [[delay]]), CELL])


GROWING = [single(4.0, 1e-3), single(6.0, 2e-3), single(6.0, 5e-3), single(1.0, 5e-3)]  # the last one is too weak


def test_plot_parameters_draws_bands_median_and_single_entries():
    rng = np.random.default_rng(0)
    networks = [Sequential([Dense(rng.normal(size=(4, 30)), 1e-3 * (k + 1)), CELL]) for k in range(3)]
    monitor = monitor_of(networks)
    weight, delay = plot_parameters(monitor, 10e-3, title="run").axes
    course = monitor.course("output.weight")
    assert [band.get_datalim(weight.transData).y1 for band in weight.collections] == pytest.approx(
        [course.quantiles[:, k].max() for k in (6, 5, 4)]
    )
    median, *entries = weight.get_lines()
    np.testing.assert_array_equal(median.get_ydata(), course.quantiles[:, 3])
    assert len(entries) == 8
    assert weight.get_title().startswith("output.weight (4 x 30), median ")
    (line,) = delay.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [(0, 0.1), (1, 0.2), (2, 0.3)])  # in tau_syn
    assert delay.get_ylabel().startswith("delay [$")
    assert not delay.collections


def test_plot_parameters_leaves_out_what_never_changes():
    monitor = monitor_of([single(4.0, 1e-3), single(5.0, 1e-3)])
    (ax,) = plot_parameters(monitor).axes
    assert ax.get_title() == "output.weight (1 x 1), 4 to 5"
    (ax,) = plot_parameters(monitor_of([single(4.0, 1e-3)] * 2)).axes
    assert [text.get_text() for text in ax.texts] == ["no parameter changed"]


def test_plot_parameters_in_milliseconds():
    _, delay = plot_parameters(monitor_of(GROWING)).axes
    assert delay.get_ylabel() == "delay [ms]"
    np.testing.assert_allclose(delay.get_lines()[0].get_ydata(), [1, 2, 5, 5])


def test_plot_parameters_needs_records():
    with pytest.raises(ValidationError, match="plot_parameters.monitor: nothing was recorded"):
        plot_parameters(ParameterMonitor())


def test_plot_learned_spike_shows_the_spike_of_every_epoch():
    monitor = monitor_of(GROWING)
    course, voltages = plot_learned_spike(monitor, GROWING[-1], INPUT, 30e-3, title="one spike").axes
    wanted = [simulate(network, INPUT).first_times("output")[0, 0] / 10e-3 for network in GROWING]
    line, target, silent = course.get_lines()
    np.testing.assert_allclose(line.get_ydata(), [*wanted[:3], np.nan], rtol=1e-12)
    assert target.get_ydata()[0] == pytest.approx(3.0)
    assert silent.get_xdata().tolist() == [3]
    before, spike, after = voltages.get_lines()[:3]
    assert spike.get_xydata() == pytest.approx(np.array([[wanted[0], 1.0]]))
    assert before.get_xdata()[-1] == pytest.approx(wanted[0])
    assert before.get_ydata()[-1] == pytest.approx(1.0)  # up to the threshold
    assert after.get_label() == "after 3 epochs: silent"
    assert after.get_ydata().max() < 1.0


def test_plot_learned_spike_of_a_neuron_that_never_fires():
    course, _ = plot_learned_spike(monitor_of([GROWING[-1]] * 2), GROWING[-1], INPUT).axes
    assert [text.get_text() for text in course.texts] == ["never fires"]


def test_plot_learned_spike_rejects_bad_input():
    monitor, network = monitor_of(GROWING), GROWING[-1]
    with pytest.raises(ValidationError, match="monitor: nothing was recorded"):
        plot_learned_spike(ParameterMonitor(), network, INPUT)
    with pytest.raises(ValidationError, match="spikes: needs one sample, got 2"):
        plot_learned_spike(monitor, network, Spikes.from_first_times([[1.0], [1.0]]))
    with pytest.raises(ValidationError, match="plot_learned_spike.target: "):
        plot_learned_spike(monitor, network, INPUT, -1.0)
    large = Sequential([Dense(np.ones((3, 3))), CELL])
    with pytest.raises(ValidationError, match=r"output.weight must be of shape \(3, 3\) and recorded completely"):
        plot_learned_spike(monitor_of([large]), large, Spikes.from_first_times([[1.0] * 3]))
