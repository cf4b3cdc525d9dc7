"""Exact event-driven spiking neural networks: closed-form spike times, hand-derived gradients, a clock on request.

Everything named in `__all__` is available as ``eventsnn.NAME``. What needs a compiler or a picture library is loaded
when its name is first used, so that ``import eventsnn`` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventsnn.channels import BiasSpikes, Repeat
from eventsnn.clock import Clock
from eventsnn.clocked_neurons import IF, CurrentLIF, Leaky, StepNeuron, Synaptic
from eventsnn.connections import Dense, Sparse
from eventsnn.convolution import Conv2d
from eventsnn.currents import Currents
from eventsnn.decoding import decode_first_spike, decode_max_membrane, decode_rate
from eventsnn.encoding import encode_delta, encode_latency, encode_latency_rc, encode_latency_steps, encode_rate
from eventsnn.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    EventSNNError,
    MissingDependencyError,
    SimulationError,
    ValidationError,
)
from eventsnn.graph import Network, Population, Projection
from eventsnn.network import Layer, Sequential
from eventsnn.neurons import LI, LIF
from eventsnn.pooling import AvgPool2d, MaxPool2d, Pooled
from eventsnn.sources import given_spikes, poisson_spikes, regular_spikes
from eventsnn.spikes import Spikes, concatenate
from eventsnn.surrogates import (
    Arctan,
    Boxcar,
    CustomSurrogate,
    Exponential,
    FastSigmoid,
    Gaussian,
    MultiGaussian,
    ReLUDerivative,
    Sigmoid,
    SpikeAsGradient,
    StraightThrough,
    Triangular,
    surrogate_of,
)

if TYPE_CHECKING:
    from eventsnn import datasets, plotting
    from eventsnn.conversion.ann import ANN
    from eventsnn.conversion.convert import convert
    from eventsnn.conversion.import_onnx import ann_from_onnx
    from eventsnn.conversion.import_sklearn import ann_from_sklearn
    from eventsnn.conversion.import_torch import ann_from_torch
    from eventsnn.conversion.models import load_ann
    from eventsnn.conversion.spiking_network import SpikingNetwork
    from eventsnn.gradients import (
        Margins,
        SpikeCountSurrogate,
        VoltageGradient,
        check_eventprop,
        check_gradients,
        eventprop,
        loss_and_grad,
        margins,
    )
    from eventsnn.simulation import Result, simulate
    from eventsnn.simulation.clock_driven import ClockedResult, simulate_clocked
    from eventsnn.simulation.grid_inputs import BinningWarning
    from eventsnn.simulation.if_exact import IFRun, simulate_if
    from eventsnn.training.count_losses import SpikeCountCrossEntropy, SpikeCountMSE, SpikeRateCrossEntropy
    from eventsnn.training.count_regularizers import (
        SpikeCountLowerBound,
        SpikeCountTarget,
        SpikeCountUpperBound,
        SpikeRateL1,
        SpikeRateL2,
    )
    from eventsnn.training.hardware import EulerForward, Hardware, ThresholdNoise
    from eventsnn.training.input_noise import ImageShift
    from eventsnn.training.learned_delays import ClippedDelay, DelayL2, LearnedDelay, ShiftedDelay, SigmoidDelay
    from eventsnn.training.losses import FirstSpikeCrossEntropy, FirstSpikeMSE, ShiftInvariantMSE
    from eventsnn.training.margin_penalty import MarginPenalty
    from eventsnn.training.membrane_losses import MembraneCrossEntropy
    from eventsnn.training.monitor import ParameterMonitor
    from eventsnn.training.optimizers import SGD, Adam
    from eventsnn.training.regularizers import SilentHinge, WeightBumping
    from eventsnn.training.schedules import Constant, CosineDecay, ExponentialDecay, MultiStepDecay, StepDecay
    from eventsnn.training.spike_train_losses import TargetSpikeTimes, VanRossum
    from eventsnn.training.trainer import Trainer
    from eventsnn.training.voltage_losses import IntegralCrossEntropy, MaxVoltageCrossEntropy, VoltageCrossEntropy

__version__ = "0.1.0"

__all__ = [
    "ANN",
    "IF",
    "LI",
    "LIF",
    "SGD",
    "Adam",
    "Arctan",
    "AvgPool2d",
    "BiasSpikes",
    "BinningWarning",
    "Boxcar",
    "CheckpointError",
    "ClippedDelay",
    "Clock",
    "ClockedResult",
    "ConfigError",
    "Constant",
    "Conv2d",
    "CosineDecay",
    "CurrentLIF",
    "Currents",
    "CustomSurrogate",
    "DataError",
    "DelayL2",
    "Dense",
    "EulerForward",
    "EventSNNError",
    "Exponential",
    "ExponentialDecay",
    "FastSigmoid",
    "FirstSpikeCrossEntropy",
    "FirstSpikeMSE",
    "Gaussian",
    "Hardware",
    "IFRun",
    "ImageShift",
    "IntegralCrossEntropy",
    "Layer",
    "Leaky",
    "LearnedDelay",
    "MarginPenalty",
    "Margins",
    "MaxPool2d",
    "MaxVoltageCrossEntropy",
    "MembraneCrossEntropy",
    "MissingDependencyError",
    "MultiGaussian",
    "MultiStepDecay",
    "Network",
    "ParameterMonitor",
    "Pooled",
    "Population",
    "Projection",
    "ReLUDerivative",
    "Repeat",
    "Result",
    "Sequential",
    "ShiftInvariantMSE",
    "ShiftedDelay",
    "Sigmoid",
    "SigmoidDelay",
    "SilentHinge",
    "SimulationError",
    "Sparse",
    "SpikeAsGradient",
    "SpikeCountCrossEntropy",
    "SpikeCountLowerBound",
    "SpikeCountMSE",
    "SpikeCountSurrogate",
    "SpikeCountTarget",
    "SpikeCountUpperBound",
    "SpikeRateCrossEntropy",
    "SpikeRateL1",
    "SpikeRateL2",
    "Spikes",
    "SpikingNetwork",
    "StepDecay",
    "StepNeuron",
    "StraightThrough",
    "Synaptic",
    "TargetSpikeTimes",
    "ThresholdNoise",
    "Trainer",
    "Triangular",
    "ValidationError",
    "VanRossum",
    "VoltageCrossEntropy",
    "VoltageGradient",
    "WeightBumping",
    "ann_from_onnx",
    "ann_from_sklearn",
    "ann_from_torch",
    "check_eventprop",
    "check_gradients",
    "concatenate",
    "convert",
    "datasets",
    "decode_first_spike",
    "decode_max_membrane",
    "decode_rate",
    "encode_delta",
    "encode_latency",
    "encode_latency_rc",
    "encode_latency_steps",
    "encode_rate",
    "eventprop",
    "given_spikes",
    "load_ann",
    "loss_and_grad",
    "margins",
    "plotting",
    "poisson_spikes",
    "regular_spikes",
    "simulate",
    "simulate_clocked",
    "simulate_if",
    "surrogate_of",
]

# Module -> names loaded from it on first use; tests/test_namespace.py compares with the imports for type checkers.
_LAZY = {
    "eventsnn.conversion.ann": ("ANN",),
    "eventsnn.conversion.convert": ("convert",),
    "eventsnn.conversion.import_onnx": ("ann_from_onnx",),
    "eventsnn.conversion.import_sklearn": ("ann_from_sklearn",),
    "eventsnn.conversion.import_torch": ("ann_from_torch",),
    "eventsnn.conversion.models": ("load_ann",),
    "eventsnn.conversion.spiking_network": ("SpikingNetwork",),
    "eventsnn.gradients": (
        "Margins",
        "SpikeCountSurrogate",
        "VoltageGradient",
        "check_eventprop",
        "check_gradients",
        "eventprop",
        "loss_and_grad",
        "margins",
    ),
    "eventsnn.simulation": ("Result", "simulate"),
    "eventsnn.simulation.clock_driven": ("ClockedResult", "simulate_clocked"),
    "eventsnn.simulation.if_exact": ("IFRun", "simulate_if"),
    "eventsnn.simulation.grid_inputs": ("BinningWarning",),
    "eventsnn.training.count_losses": ("SpikeCountCrossEntropy", "SpikeCountMSE", "SpikeRateCrossEntropy"),
    "eventsnn.training.count_regularizers": (
        "SpikeCountLowerBound",
        "SpikeCountTarget",
        "SpikeCountUpperBound",
        "SpikeRateL1",
        "SpikeRateL2",
    ),
    "eventsnn.training.hardware": ("EulerForward", "Hardware", "ThresholdNoise"),
    "eventsnn.training.input_noise": ("ImageShift",),
    "eventsnn.training.learned_delays": (
        "ClippedDelay",
        "DelayL2",
        "LearnedDelay",
        "ShiftedDelay",
        "SigmoidDelay",
    ),
    "eventsnn.training.losses": ("FirstSpikeCrossEntropy", "FirstSpikeMSE", "ShiftInvariantMSE"),
    "eventsnn.training.margin_penalty": ("MarginPenalty",),
    "eventsnn.training.membrane_losses": ("MembraneCrossEntropy",),
    "eventsnn.training.monitor": ("ParameterMonitor",),
    "eventsnn.training.optimizers": ("SGD", "Adam"),
    "eventsnn.training.regularizers": ("SilentHinge", "WeightBumping"),
    "eventsnn.training.schedules": ("Constant", "CosineDecay", "ExponentialDecay", "MultiStepDecay", "StepDecay"),
    "eventsnn.training.spike_train_losses": ("TargetSpikeTimes", "VanRossum"),
    "eventsnn.training.trainer": ("Trainer",),
    "eventsnn.training.voltage_losses": ("IntegralCrossEntropy", "MaxVoltageCrossEntropy", "VoltageCrossEntropy"),
}
_HOMES = {name: module for module, names in _LAZY.items() for name in names}
_SUBMODULES = ("datasets", "plotting")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"eventsnn.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'eventsnn' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
