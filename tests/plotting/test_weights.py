from __future__ import annotations

import numpy as np
import pytest

from eventsnn import IF, LIF, AvgPool2d, Conv2d, Dense, MaxPool2d, Sequential
from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_receptive_fields, plot_weight_histograms, plot_weight_matrices
from tests.plotting.fake import make_network


def single(weight):
    return Sequential([Dense(weight), LIF(tau_mem=2.0, tau_syn=1.0)])


def test_plot_weight_histograms_counts_every_synapse_once():
    network = make_network([64, 30, 3])
    hidden, output = plot_weight_histograms(network).axes
    for ax, n in ((hidden, 64 * 30), (output, 30 * 3)):
        assert sum(bar.get_height() for bar in ax.patches) == n
        assert ax.get_ylabel() == "number of synapses"
    assert (hidden.get_yscale(), output.get_yscale()) == ("log", "linear")
    assert hidden.get_title().startswith("hidden (64 x 30)")


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_plot_weight_histograms_of_equal_weights(value):
    (ax,) = plot_weight_histograms(single(np.full((2, 3), value))).axes
    assert sum(bar.get_height() for bar in ax.patches) == 6
    assert f"mean {value:.3g} (line), std 0" in ax.get_title()


def test_plot_weight_matrices_are_centred_at_zero():
    network = make_network([5, 12, 3], mean=[2.0, -1.0])
    axes = plot_weight_matrices(network).axes
    images = [ax.images[0] for ax in axes if ax.images]
    assert len(images) == 2
    for image, weight in zip(images, network.weights, strict=True):
        np.testing.assert_array_equal(image.get_array(), weight)
        low, high = image.get_clim()
        assert low == -high < 0
    assert (axes[1].get_xlabel(), axes[1].get_ylabel()) == ("output neuron", "hidden neuron")
    assert [ax.get_ylabel() for ax in axes[2:]] == ["weight", "weight"]


def test_plot_weight_matrices_limits_withstand_outliers():
    weight = np.ones((100, 100))
    weight[3, 4] = 1000.0
    figure = plot_weight_matrices(single(weight))
    assert figure.axes[0].images[0].get_clim() == (-1.0, 1.0)
    assert figure.axes[0].images[0].colorbar.extend == "max"


def test_plot_weight_matrices_of_zeros_and_one_neuron():
    image = plot_weight_matrices(single([[0.0]])).axes[0].images[0]
    assert image.get_clim() == (-1.0, 1.0)


def test_plot_receptive_fields_shows_columns_as_images():
    network = make_network([64, 30, 3])
    axes = [ax for ax in plot_receptive_fields(network, neurons=[4, 29]).axes if ax.images]
    for ax, neuron in zip(axes, (4, 29), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), network.weights[0][:, neuron].reshape(8, 8))
        assert ax.get_title() == str(neuron)


def test_plot_receptive_fields_chooses_evenly():
    axes = [ax for ax in plot_receptive_fields(make_network([6, 100, 3]), shape=(2, 3)).axes if ax.images]
    numbers = [int(ax.get_title()) for ax in axes]
    assert len(numbers) == 24
    assert (numbers[0], numbers[-1]) == (0, 99)
    assert set(np.diff(numbers)) <= {4, 5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "6 inputs are no square"),
        ({"shape": (2, 4)}, r"shape: \(2, 4\) does not hold 6 inputs"),
        ({"shape": (2, 3), "neurons": [5]}, r"neurons: entry 0 is 5, must lie in 0 \.\. 4"),
        ({"shape": (2, 3), "neurons": []}, "neurons: needs at least one neuron"),
    ],
)
def test_plot_receptive_fields_rejects_bad_input(arguments, message):
    with pytest.raises(ValidationError, match=message):
        plot_receptive_fields(make_network([6, 5, 3]), **arguments)


def test_pictures_of_a_convolution_show_its_windows():
    rng = np.random.default_rng(0)
    first = Conv2d.normal((6, 6, 2), 5, 3, mean=0.0, std=1.0, rng=rng)
    pool = AvgPool2d(first.out_shape, 2)
    network = Sequential([first, LIF(1.0, 1.0), pool, Dense.normal(20, 3, mean=0.0, std=1.0, rng=rng), LIF(1.0, 1.0)])
    figure = plot_weight_matrices(network)
    axes = [ax for ax in figure.axes if ax.images]
    np.testing.assert_array_equal(axes[0].images[0].get_array(), first.weight.reshape(18, 5))
    assert axes[0].get_ylabel() == "place in the window"
    assert axes[1].get_ylabel() == "pool over hidden"
    figure = plot_receptive_fields(network, neurons=[0, 3])
    tiles = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    np.testing.assert_array_equal(tiles[0], first.weight[:, :, 0, 0])
    np.testing.assert_array_equal(tiles[1], first.weight[:, :, 1, 1])  # output 1, input 1
    with pytest.raises(ValidationError, match=r"shape: the windows of 'hidden' are \(3, 3\)"):
        plot_receptive_fields(network, shape=(6, 6))
    plot_weight_histograms(network)


def test_averages_have_no_picture_of_their_weights():
    rng = np.random.default_rng(0)
    first = Conv2d.normal((6, 6, 1), 2, 3, mean=0.0, std=1.0, rng=rng)
    network = Sequential(
        [first, IF(), AvgPool2d((4, 4, 2), 2), IF(), MaxPool2d((2, 2, 2), 2), Dense(rng.normal(size=(2, 3))), IF()]
    )
    for plot in (plot_weight_histograms, plot_weight_matrices):
        titles = [ax.get_title() for ax in plot(network).axes if ax.get_title()]
        assert [title.split(" (")[0].split(" to ")[-1] for title in titles] == ["hidden1", "output"]
    assert "(2 x 3)" in plot_weight_histograms(network).axes[1].get_title()  # those behind the pool
    alone = Sequential([AvgPool2d((4, 4, 2), 2), IF()])
    assert len(plot_weight_histograms(alone).axes) == 1
