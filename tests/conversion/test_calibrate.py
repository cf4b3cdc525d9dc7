"""Calibration: what it corrects against the reference, and that it helps on images that it has not seen."""

import numpy as np
import pytest

from eventsnn.conversion import convert
from tests.conversion.small_networks import convolutional, perceptron
from tests.reference import conversion_numpy as reference


@pytest.mark.parametrize("which", ["bias", "potential", "both"])
@pytest.mark.parametrize("network", [perceptron, convolutional])
def test_corrections_equal_the_reference(network, which):
    ann, layers, images = network(3)
    snn = convert(ann, images, method="max", calibrate=which, n_steps=13, channel_wise=False)
    thresholds = [layer.published_threshold for layer in snn.report[:-1]]
    biases, shifts = reference.calibrated(layers, thresholds, images, 13, which)
    for report, layer, bias, shift in zip(snn.report, layers, biases, shifts, strict=True):
        if which == "potential":
            assert report.bias_correction is None
        else:
            # means of float64 sums in another order; a spike that rounding made or unmade would be 1e-3 of a scale
            np.testing.assert_allclose(report.bias_correction, bias - layer.bias, atol=1e-12)
        if which == "bias":
            assert report.potential_correction is None
        else:
            np.testing.assert_allclose(report.potential_correction, shift, atol=1e-11)


def error_on_new_images(ann, snn, n_steps):
    new = np.random.default_rng(99).random((300, ann.n_inputs))
    return np.abs(snn.outputs(new, n_steps) - ann.outputs(new)).mean()


@pytest.mark.parametrize("seed", range(3))
def test_calibration_reduces_the_error_on_images_it_has_not_seen(seed):
    ann, _, _ = perceptron(seed, (8, 40, 40, 40, 5))
    images = np.random.default_rng(7).random((200, 8))

    def error(**options):
        return error_on_new_images(ann, convert(ann, images, method="max", n_steps=16, **options), 16)

    # Counts rounded down, without the charge of half a threshold, are the error that it was made for: about a third is
    # left of it, 0.36 to 0.55 in ten seeds.
    rounded_down = error(initial_charge=0.0)
    for which in ("bias", "potential", "both"):
        assert error(initial_charge=0.0, calibrate=which) < 0.7 * rounded_down
    # What the charge leaves is smaller, and so is what can be had: 0.72 to 0.9.
    assert error(calibrate="potential") < 0.97 * error()


def test_calibrated_potentials_hold_for_longer_runs_as_well():
    ann, _, _ = perceptron(1, (8, 40, 40, 40, 5))
    images = np.random.default_rng(7).random((200, 8))
    plain = convert(ann, images, method="max")
    calibrated = convert(ann, images, method="max", n_steps=16, calibrate="potential")
    assert error_on_new_images(ann, calibrated, 64) < error_on_new_images(ann, plain, 64)


def test_calibration_does_not_depend_on_the_batches(monkeypatch):
    ann, _, images = perceptron(4)
    plain = convert(ann, images, calibrate="both", n_steps=8)
    monkeypatch.setattr("eventsnn.conversion.normalize._BATCH_NUMBERS", 1)
    by_one = convert(ann, images, calibrate="both", n_steps=8)
    for a, b in zip(plain.report, by_one.report, strict=True):
        # sums in another order
        np.testing.assert_allclose(a.bias_correction, b.bias_correction, atol=1e-13)
        np.testing.assert_allclose(a.potential_correction, b.potential_correction, atol=1e-12)
