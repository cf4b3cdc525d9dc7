"""`convert`: a trained network with ReLU becomes a spiking one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._names import hint
from eventsnn._validation import float_array, number
from eventsnn.conversion.ann import ANN
from eventsnn.conversion.ann_layers import Convolution
from eventsnn.conversion.blocks import Block, blocks_of
from eventsnn.conversion.calibrate import calibrate_plan
from eventsnn.conversion.normalize import Activations, activation_scales, alive, spike_norm_scale, summarized
from eventsnn.conversion.plan import Plan, n_channels
from eventsnn.conversion.progress import BatchBar
from eventsnn.conversion.report import ConversionReport, LayerReport
from eventsnn.conversion.spiking_network import SpikingNetwork, checked_steps, flat_images
from eventsnn.errors import ValidationError

__all__ = ["METHODS", "convert"]

METHODS = ("percentile", "max", "spike_norm")
CALIBRATIONS = ("bias", "potential", "both")
RESETS = ("subtract", "zero")

Floats = NDArray[np.float64]


def convert(
    ann: ANN,
    calibration: ArrayLike | None = None,
    *,
    method: str | Sequence[ArrayLike] = "percentile",
    percentile: float = 99.9,
    channel_wise: bool | None = None,
    threshold_scale: float | Sequence[float] = 1.0,
    reset: Literal["subtract", "zero"] = "subtract",
    beta: float = 1.0,
    initial_charge: float | None = None,
    calibrate: Literal["bias", "potential", "both"] | None = None,
    n_steps: int = 64,
    n_threads: int = 1,
    progress: bool = True,
) -> SpikingNetwork:
    """Convert a trained network with ReLU into a spiking one of integrate-and-fire units.

    Parameters
    ----------
    ann : ANN
    calibration : array_like of float, shape (n, *ann.input_shape) or (n, n_inputs)
        Images of the training set, as the ANN takes them, drawn at random: of all classes. Some hundreds are enough.
        Needed by all methods and calibrations, not by scales given as `method` alone.
    method : "percentile", "max", "spike_norm", or a sequence of scales, one per layer with a ReLU
        How to choose the *scale* of a layer, which is the activation that a spike in every step stands for and the
        threshold. "percentile", "max": of the layer's positive activations. "spike_norm": the largest sum of weighted
        spikes and bias in any step, layer by layer, through the layers before it as they will spike. A scale that is
        given is a number > 0 or one per channel.
    percentile : float, in (0, 100], for method="percentile"
    channel_wise : bool, optional
        One scale per channel (of a linear layer: per unit), or one per layer. Default: per channel behind a
        convolution, one of a linear layer. Channels then spike alike often: fewer steps are needed, with more spikes.
    threshold_scale : float > 0, or one per layer with a ReLU
        Factor of the scales; where scales follow from spikes of the layers before, from those with their factor.
    reset : {"subtract", "zero"}
        After a spike the threshold is subtracted (soft reset), or the potential is 0 (hard reset), which loses what was
        above the threshold: rates are then too low, however long the run.
    beta : float, in 0 .. 1
        Share of the potential left after a step. Below 1 units leak, and weak activations are lost.
    initial_charge : float, in 0 .. 1, optional
        Potential before the first step, as a share of the threshold. Default: 0.5 with soft reset, which rounds counts
        where 0 rounds them down; 0 with hard reset.
    calibrate : None, "bias", "potential" or "both"
        Correct what error is left on the calibration images after n_steps steps, layer by layer: the biases, by
        channel; the potentials before the first step, by neuron; or first the one, then the other.
    n_steps : int, >= 1
        Steps of the runs of "spike_norm" and of calibration. Take as many as will be used.
    n_threads : threads over blocks of images; does not change the result
    progress : show a bar on standard error once two seconds have passed

    Returns
    -------
    SpikingNetwork
        With a report of what was chosen.

    Raises
    ------
    ValidationError
        Layers that no spiking network stands for; a layer whose activation is 0 for all calibration images (it is
        named); calibration images of another shape, not finite, none where they are needed; an unknown method, and
        values out of range.

    Notes
    -----
    All passes over the calibration images go batch by batch, in memory that does not grow with their number, but for
    the exact percentile, which keeps that share of a layer's activations that lies above it.

    With constant input the rate r of a unit in the first layer obeys |r scale - activation| <= scale / n_steps as long
    as the activation is at most the scale and the reset is soft. In deeper layers spikes come unevenly, and a unit may
    have fired before its inhibition came; that error shrinks with n_steps too, but more slowly.

    References
    ----------
    Diehl, P. U. et al. (2015), doi 10.1109/IJCNN.2015.7280696: data-based maximum. Rueckauer, B. et al. (2017), doi
    10.3389/fnins.2017.00682: percentile, reset by subtraction, analog input. Sengupta, A. et al. (2019), doi
    10.3389/fnins.2019.00095: SpikeNorm. Han, B. et al. (2020), arXiv 2003.01811: soft reset. Li, Y. et al. (2021),
    arXiv 2106.06984: calibration of biases and potentials.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn.conversion import ANN, Linear, ReLU, convert
    >>> rng = np.random.default_rng(0)
    >>> ann = ANN([Linear(rng.normal(size=(4, 20))), ReLU(), Linear(rng.normal(size=(20, 3)))], input_shape=(4,))
    >>> images = rng.random((200, 4))
    >>> snn = convert(ann, images, method="max")
    >>> float(abs(snn.outputs(images, n_steps=64) - ann.outputs(images)).max()) < 0.2
    True
    """
    if not isinstance(ann, ANN):
        raise ValidationError(
            f"convert.ann: must be an ANN, got {type(ann).__name__}; ann_from_sklearn, ann_from_torch and "
            "ann_from_onnx make one"
        )
    blocks = blocks_of(ann)
    hidden = [block for block in blocks if block.has_relu]
    if isinstance(method, str) and method not in METHODS:
        raise ValidationError(f"convert.method: no method {method!r}{hint(method, METHODS)}; or give scales")
    if calibrate is not None and calibrate not in CALIBRATIONS:
        raise ValidationError(f"convert.calibrate: no calibration {calibrate!r}{hint(calibrate, CALIBRATIONS)}")
    if reset not in RESETS:
        raise ValidationError(f"convert.reset: no reset {reset!r}{hint(reset, RESETS)}")
    if not 0 < number("convert.percentile", percentile) <= 100:
        raise ValidationError(f"convert.percentile: must lie in (0, 100], got {percentile:g}; 99.9 is usual")
    steps = checked_steps("convert.n_steps", n_steps)
    factors = _factors(threshold_scale, hidden)
    if initial_charge is None:
        initial_charge = 0.5 if reset == "subtract" else 0.0
    charge = _share("convert.initial_charge", initial_charge)
    plan = Plan(blocks, ann.dtype, reset, _share("convert.beta", beta), charge)
    given = None if isinstance(method, str) else _given(method, hidden)
    settings = f"reset {reset}, initial charge {charge:g} thresholds" + (f", leak beta {beta:g}" if beta != 1 else "")
    if calibration is None:
        if given is None or calibrate is not None:
            what = f"method={method!r}" if given is None else f"calibrate={calibrate!r}"
            raise ValidationError(
                f"convert.calibration: {what} needs images, some hundreds of the training set; without any, give one "
                "scale per layer as method"
            )
        plan.scales = [scale * factor for scale, factor in zip(given, factors, strict=True)]
        return _finished(ann, plan, ["given"] * len(hidden), factors, settings)

    images = flat_images("convert.calibration", calibration, ann)
    folded = ann.folded()
    by_channel = [isinstance(own.layer, Convolution) if channel_wise is None else channel_wise for own in hidden]
    n_passes = 1 + len(blocks) * {None: 0, "bias": 1, "potential": 1, "both": 2}[calibrate]
    n_passes += 0 if given is not None else len(hidden) if method == "spike_norm" else 1
    with BatchBar("convert", n_passes * len(images), enabled=progress) as bar:
        if given is not None:
            described = ["given"] * len(hidden)
            plan.scales = [scale * factor for scale, factor in zip(given, factors, strict=True)]
        elif method == "spike_norm":
            described = [f"spike_norm, {steps} steps"] * len(hidden)
            for k, factor in enumerate(factors):
                scale = spike_norm_scale(plan, k, images, steps, by_channel[k], n_threads, bar)
                plan.scales.append(alive(scale, hidden[k], len(images)) * factor)
        else:
            described = [f"percentile {percentile:g}" if method == "percentile" else "max"] * len(hidden)
            share = percentile if method == "percentile" else 100.0
            for k, scale in enumerate(activation_scales(folded, blocks, images, share, by_channel, bar)):
                plan.scales.append(alive(scale, hidden[k], len(images)) * factors[k])
        if given is None:
            described = [own + " by channel" * wise for own, wise in zip(described, by_channel, strict=True)]
        seen = summarized(folded, blocks, plan.scales, images, bar)
        settings += f", {len(images)} calibration images"
        if calibrate is not None:
            settings += f", calibrated {calibrate} at {steps} steps"
            calibrate_plan(
                plan, [own.mean for own in seen], images, steps, bias=calibrate in ("bias", "both"),
                potential=calibrate in ("potential", "both"), n_threads=n_threads, bar=bar,
            )  # fmt: skip
    return _finished(ann, plan, described, factors, settings, seen, calibrate)


def _share(name: str, value: Any) -> float:
    if not 0 <= number(name, value) <= 1:
        raise ValidationError(f"{name}: must lie in 0 .. 1, got {value!r}")
    return float(value)


def _factors(given: Any, hidden: list[Block]) -> list[float]:
    """One factor per layer with a ReLU."""
    if not isinstance(given, (Sequence, np.ndarray)):
        return [number("convert.threshold_scale", given, above=0)] * len(hidden)
    if len(given) != len(hidden):
        raise ValidationError(
            f"convert.threshold_scale: must be one number, or one for each of {[block.name for block in hidden]}, got "
            f"{len(given)}"
        )
    return [number(f"convert.threshold_scale[{k}]", own, above=0) for k, own in enumerate(given)]


def _given(method: Sequence[ArrayLike], hidden: list[Block]) -> list[Floats]:
    """Scales given as `method`."""
    if not isinstance(method, (Sequence, np.ndarray)) or len(method) != len(hidden):
        raise ValidationError(
            f"convert.method: must be one of {METHODS}, or one scale for each of {[block.name for block in hidden]}, "
            f"got {method!r}"
        )
    found = []
    for values, block in zip(method, hidden, strict=True):
        scale = float_array(f"convert.method: the scale of {block.name!r}", values)
        if scale.shape not in ((), (n_channels(block),)):
            raise ValidationError(
                f"convert.method: the scale of {block.name!r} must be one number or one for each of its "
                f"{n_channels(block)} channels, got shape {scale.shape}"
            )
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ValidationError(f"convert.method: the scale of {block.name!r} must be finite and > 0, got {values!r}")
        found.append(scale)
    return found


def _finished(
    ann: ANN,
    plan: Plan,
    methods: list[str],
    factors: list[float],
    settings: str,
    seen: list[Activations] | None = None,
    calibrate: str | None = None,
) -> SpikingNetwork:
    """The network of a plan, with its report."""
    layers = []
    for k, block in enumerate(plan.blocks):
        common: dict[str, Any] = {
            "name": block.name,
            "n_neurons": math.prod(block.output_shape),
            "n_channels": n_channels(block),
            "bias_correction": plan.biases[k] - block.bias if calibrate in ("bias", "both") else None,
            "potential_correction": plan.shifts[k] if calibrate in ("potential", "both") else None,
        }
        if not block.has_relu:
            layers.append(LayerReport(method="accumulates", scale=None, **common))
            continue
        scale, before = plan.scales[k], plan.scales[k - 1] if k else np.ones(())
        layers.append(
            LayerReport(
                method=methods[k] + (f", x {factors[k]:g}" if factors[k] != 1 else ""),
                scale=scale if scale.ndim else float(scale),
                published_threshold=None if scale.ndim or before.ndim else float(scale / before),
                saturated_share=None if seen is None else seen[k].saturated,
                n_silent=None if seen is None else seen[k].n_silent,
                **common,
            )
        )
    return SpikingNetwork(ann, plan.chain(len(plan.blocks) - 1), ConversionReport(tuple(layers), settings))
