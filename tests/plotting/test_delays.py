from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LIF, Dense, Network, Population, Projection, Repeat, Sequential, Sparse
from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_delay_histograms, plot_delay_matrices

CELL = LIF(20e-3, 5e-3)
RNG = np.random.default_rng(0)
SYNAPTIC, AXONAL, DENDRITIC = RNG.uniform(0, 9e-3, (3, 4)), RNG.uniform(0, 9e-3, (4, 1)), RNG.uniform(0, 9e-3, (1, 2))


def chain():
    delays = ((3, 4, SYNAPTIC), (4, 5, AXONAL), (5, 2, DENDRITIC), (2, 2, 1e-3), (2, 1, 0.0))
    return Sequential([part for n, m, delay in delays for part in (Dense(np.ones((n, m)), delay), CELL)])


def test_plot_delay_histograms_count_every_delay_once():
    axes = plot_delay_histograms(chain()).axes
    assert [sum(bar.get_height() for bar in ax.patches) for ax in axes] == [12, 4, 2, 1]
    assert [ax.get_title().split("\n")[0] for ax in axes] == [
        "input to hidden1, 12 synaptic delays", "hidden1 to hidden2, 4 axonal delays",
        "hidden2 to hidden3, 2 dendritic delays", "hidden3 to hidden4, one delay",
    ]  # fmt: skip
    assert axes[3].get_title().endswith(r"mean 0.2 (line), longest 0.2 $\tau_\mathrm{syn}$")


def test_plot_delay_histograms_of_a_network_are_in_milliseconds():
    connection = Sparse.random(6, 3, in_degree=2, weight=0.2, rng=RNG, delay=9e-3)
    network = Network({"in": 6}, {"out": Population(CELL, 3)}, [Projection("in", "out", connection)])
    (ax,) = plot_delay_histograms(network).axes
    assert ax.get_xlabel() == "delay [ms]"
    assert "longest 9 ms" in ax.get_title()
    with pytest.raises(ValidationError, match="plot_delay_matrices.network: no connection has more than one delay"):
        plot_delay_matrices(network)


def test_plot_delay_matrices_show_every_delay_in_its_place():
    axes = plot_delay_matrices(chain()).axes[:3]
    for ax, delay in zip(axes, (SYNAPTIC, AXONAL, DENDRITIC), strict=True):
        np.testing.assert_allclose(ax.images[0].get_array(), delay / 5e-3)
        assert ax.images[0].get_clim() == pytest.approx((0.0, delay.max() / 5e-3))
    assert [ax.get_xlabel() for ax in axes] == ["hidden1 (neuron)", "hidden2 (all)", "hidden3 (neuron)"]
    assert [ax.get_ylabel() for ax in axes] == ["input (neuron)", "hidden1 (neuron)", "hidden2 (all)"]


def test_plot_delay_matrices_speak_of_channels_where_neurons_are_repeated():
    network = Sequential([Repeat(2), Dense(np.ones((6, 2)), RNG.uniform(size=(6, 1))), CELL])
    assert plot_delay_matrices(network).axes[0].get_ylabel() == "input (channel)"


def test_plot_delay_matrices_of_sparse_connections():
    sparse = Sparse(np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]]), [1e-3, 2e-3, 3e-3])
    network = Network({"in": 3}, {"out": Population(CELL, 2)}, [Projection("in", "out", sparse)])
    image = plot_delay_matrices(network).axes[0].images[0].get_array()
    np.testing.assert_allclose(image, [[0, 1], [2, 0], [0, 3]])


@pytest.mark.parametrize("draw", [plot_delay_histograms, plot_delay_matrices])
def test_pictures_of_delays_refuse_a_network_without_them(draw):
    with pytest.raises(ValidationError, match=f"{draw.__name__}.network: no connection has a delay"):
        draw(Sequential([Dense(np.ones((2, 3))), CELL]))
