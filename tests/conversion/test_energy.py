"""Operations and energy: counts by brute force, the two conventions of the first layer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from eventsnn.conversion import Convolution, Linear
from eventsnn.conversion.energy import estimate_energy, multiply_accumulates
from eventsnn.errors import ValidationError


def block(weight, pooled_shape, output_shape, stride=(1, 1), padding=(0, 0)):
    """What `multiply_accumulates` looks at."""
    values = np.zeros(weight)
    layer = Linear(values) if values.ndim == 2 else Convolution(values, stride=stride, padding=padding)
    return SimpleNamespace(layer=layer, pooled_shape=pooled_shape, output_shape=output_shape)


def taps_by_hand(weight, pooled_shape, output_shape, stride, padding):
    total = 0
    for y in range(output_shape[0]):
        for x in range(output_shape[1]):
            for ky in range(weight[0]):
                for kx in range(weight[1]):
                    at = (y * stride[0] - padding[0] + ky, x * stride[1] - padding[1] + kx)
                    total += 0 <= at[0] < pooled_shape[0] and 0 <= at[1] < pooled_shape[1]
    return total * weight[2] * weight[3]


@pytest.mark.parametrize(
    ("weight", "pooled_shape", "stride", "padding"),
    [
        ((3, 3, 4, 8), (6, 7, 4), (1, 1), (1, 1)),
        ((5, 3, 2, 3), (9, 8, 2), (2, 1), (2, 0)),
        ((3, 3, 2, 8), (5, 5, 4), (2, 2), (1, 1)),  # two groups: half the input channels each
        ((1, 1, 3, 2), (4, 4, 3), (1, 1), (0, 0)),
    ],
)
def test_convolutions_count_what_lies_over_the_image(weight, pooled_shape, stride, padding):
    out = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(pooled_shape, padding, weight, stride, strict=False)]
    shape = (*out, weight[3])
    own = block(weight, pooled_shape, shape, stride, padding)
    assert multiply_accumulates([own]) == [taps_by_hand(weight, pooled_shape, shape, stride, padding)]


def test_linear_layers_count_their_weights():
    assert multiply_accumulates([block((784, 256), (784,), (256,)), block((256, 10), (256,), (10,))]) == [200704, 2560]


def test_energy_is_that_of_the_stated_constants():
    found = estimate_energy([1000, 500], 2000.0, n_steps=8)
    assert (found.ann_macs, found.snn_macs, found.snn_acs) == (1500, 1000, 2000)
    assert found.ann_joule == pytest.approx(1500 * 4.6e-12, rel=1e-15)
    assert found.snn_joule == pytest.approx(1000 * 4.6e-12 + 2000 * 0.9e-12, rel=1e-15)
    assert found.ratio == pytest.approx(6900 / 6400, rel=1e-15)


def test_the_other_convention_counts_the_first_layer_in_every_step():
    assert estimate_energy([1000, 500], 2000.0, n_steps=8, first_layer="every_step").snn_macs == 8000


@pytest.mark.parametrize("first_layer", ["once", "every_step"])
def test_without_a_current_the_first_layer_has_no_multiplications(first_layer):
    found = estimate_energy([1000, 500], 0.0, n_steps=8, constant_input=False, first_layer=first_layer)
    assert (found.snn_macs, found.snn_joule, found.ratio) == (0, 0, np.inf)


def test_str_says_both_energies():
    text = str(estimate_energy([200704, 2560], 13_000.0, n_steps=16))
    assert text == "935 nJ per image (0.201 M MAC, 0.013 M AC), the ANN 935 nJ (0.203 M MAC)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"macs": []}, "macs: needs at least one layer"),
        ({"macs": [-1]}, r"macs\[0\]: must be a finite number and >= 0"),
        ({"synaptic_events": np.nan}, "synaptic_events: must be a finite number"),
        ({"n_steps": 0}, "n_steps: must be >= 1"),
        ({"first_layer": "never"}, "first_layer: must be 'once' or 'every_step'"),
    ],
)
def test_arguments_are_checked(change, message):
    given = {"macs": [10], "synaptic_events": 1.0, "n_steps": 4} | change
    with pytest.raises(ValidationError, match=f"estimate_energy.{message}"):
        estimate_energy(given.pop("macs"), given.pop("synaptic_events"), **given)
