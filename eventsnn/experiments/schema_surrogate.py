"""The surrogate of a clock-driven configuration: one model for each of `eventsnn.surrogates`, by its name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eventsnn.experiments.schema_base import NonNegativeFloat, PositiveFloat, Strict, default

__all__ = ["SurrogateConfig"]


class ReLUDerivativeConfig(Strict):
    """1 from the threshold on, 0 below."""

    name: Literal["relu_derivative"]


class SpikeAsGradientConfig(Strict):
    """The spike itself: 1 above the threshold, 0 up to it."""

    name: Literal["spike_as_gradient"]


class StraightThroughConfig(Strict):
    """1 everywhere."""

    name: Literal["straight_through"]


class BoxcarConfig(Strict):
    """Constant around the threshold."""

    name: Literal["boxcar"]
    width: PositiveFloat = default(1.0, "whole width of the window")


class TriangularConfig(Strict):
    """height max(0, 1 - |x| / width)."""

    name: Literal["triangular"]
    height: PositiveFloat = default(0.3, "value at the threshold")
    width: PositiveFloat = default(1.0, "distance from the threshold at which it is 0")


class FastSigmoidConfig(Strict):
    """1 / (1 + slope |x|)^2 (SuperSpike)."""

    name: Literal["fast_sigmoid"]
    slope: PositiveFloat = default(25.0, "the larger, the narrower")


class ArctanConfig(Strict):
    """(alpha / 2) / (1 + (pi alpha x / 2)^2)."""

    name: Literal["arctan"]
    alpha: PositiveFloat = default(2.0, "twice the value at the threshold")


class SigmoidConfig(Strict):
    """slope s (1 - s) with s = 1 / (1 + exp(-slope x))."""

    name: Literal["sigmoid"]
    slope: PositiveFloat = default(25.0, "the larger, the narrower and higher")


class GaussianConfig(Strict):
    """The density of a normal distribution."""

    name: Literal["gaussian"]
    width: PositiveFloat = default(0.5, "standard deviation")


class ExponentialConfig(Strict):
    """scale exp(-slope |x|) (SLAYER)."""

    name: Literal["exponential"]
    scale: PositiveFloat = default(1.0, "value at the threshold")
    slope: PositiveFloat = default(1.0, "the larger, the narrower")


class MultiGaussianConfig(Strict):
    """A Gaussian in the middle minus a wider one at each side (Yin et al. 2021)."""

    name: Literal["multi_gaussian"]
    width: PositiveFloat = default(0.5, "standard deviation of the one in the middle, and distance of the others")
    depth: NonNegativeFloat = default(0.15, "weight of the other two")
    spread: PositiveFloat = default(6.0, "how many times as wide they are")
    scale: PositiveFloat = default(0.5, "factor on all of it")


SurrogateConfig = Annotated[
    ReLUDerivativeConfig
    | SpikeAsGradientConfig
    | StraightThroughConfig
    | BoxcarConfig
    | TriangularConfig
    | FastSigmoidConfig
    | ArctanConfig
    | SigmoidConfig
    | GaussianConfig
    | ExponentialConfig
    | MultiGaussianConfig,
    Field(discriminator="name"),
]
