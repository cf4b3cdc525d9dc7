from __future__ import annotations

import copy
import pickle

import pytest

from eventsnn import EulerForward, Hardware, ThresholdNoise, ValidationError


def test_hardware_of_takes_one_value_or_a_dict_by_population():
    noise = ThresholdNoise(batch=0.1)
    hardware = Hardware(threshold_noise={"output": noise}, spike_jitter=0.2, weight_max={"hidden": 2}, weight_step=0.5)
    hidden, output = hardware.of("hidden"), hardware.of("output")
    assert hidden.threshold_noise == ThresholdNoise()
    assert output.threshold_noise is noise
    assert (hidden.spike_jitter, output.spike_jitter) == (0.2, 0.2)
    assert (hidden.delay_jitter, output.delay_jitter) == (0.0, 0.0)
    assert (hidden.weight_max, output.weight_max) == (2.0, None)
    assert (hidden.weight_step, output.gradient_tau_ratio) == (0.5, None)


def test_hardware_keeps_what_it_was_given():
    given = {"hidden": 0.5}
    hardware = Hardware(weight_step=given)
    given["hidden"] = 7.0
    assert hardware.of("hidden").weight_step == 0.5
    with pytest.raises(TypeError, match="item assignment"):
        hardware.weight_step["hidden"] = 7.0
    assert pickle.loads(pickle.dumps(hardware)).of("hidden") == hardware.of("hidden")
    assert copy.deepcopy(hardware).of("hidden") == hardware.of("hidden")


def test_hardware_names_an_unknown_population():
    hardware = Hardware(delay_jitter={"hiden": 0.1})
    with pytest.raises(ValidationError, match=r"Hardware\.delay_jitter: no population 'hiden'; did you mean 'hidden'"):
        hardware.require_names(["hidden", "output"])
    Hardware(delay_jitter={"hidden": 0.1}, weight_max=1.0).require_names(["hidden", "output"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_max": 0.0}, r"Hardware\.weight_max: must be a finite number and > 0, got 0\.0"),
        ({"weight_step": float("nan")}, r"Hardware\.weight_step: .*got nan"),
        ({"weight_step": False}, r"Hardware\.weight_step: .*got False"),
        ({"gradient_tau_ratio": -2}, r"Hardware\.gradient_tau_ratio: .*got -2"),
        ({"delay_jitter": -0.1}, r"Hardware\.delay_jitter: must be a finite number and >= 0, got -0\.1"),
        ({"delay_jitter": None}, r"Hardware\.delay_jitter: .*got None; 0 for none"),
        ({"spike_jitter": {"output": float("inf")}}, r"Hardware\.spike_jitter\['output'\]: .*got inf"),
        ({"threshold_noise": 0.1}, r"Hardware\.threshold_noise: must be a ThresholdNoise, got 0\.1"),
        ({"threshold_noise": {"output": None}}, r"Hardware\.threshold_noise\['output'\]: must be a ThresholdNoise"),
        ({"euler": 0.01}, r"Hardware\.euler: must be an EulerForward or None, got 0\.01"),
    ],
)
def test_hardware_refuses(settings, message):
    with pytest.raises(ValidationError, match=message):
        Hardware(**settings)


@pytest.mark.parametrize("name", ["sample", "batch", "fixed_std"])
def test_threshold_noise_refuses_a_negative_standard_deviation(name):
    with pytest.raises(ValidationError, match=rf"ThresholdNoise\.{name}: must be a finite number and >= 0, got -1"):
        ThresholdNoise(**{name: -1})
    assert ThresholdNoise(fixed_mean=-1).fixed_mean == -1.0


def test_euler_forward_counts_its_steps():
    assert EulerForward(0.1, 0.3).n_steps == 3
    assert EulerForward(0.01, 4.0).n_steps == 400
    assert EulerForward(0.01, 0.0199).n_steps == 1
    for dt, t_max in ((0.0, 1.0), (0.1, float("inf")), (0.2, 0.1)):
        with pytest.raises(ValidationError, match=r"EulerForward\.(dt|t_max)"):
            EulerForward(dt, t_max)
