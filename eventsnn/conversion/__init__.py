"""From a trained network with ReLU to a spiking one."""

from eventsnn.conversion.ann import ANN
from eventsnn.conversion.ann_layers import (
    ANNLayer,
    AvgPool,
    BatchNorm,
    Convolution,
    Dropout,
    Flatten,
    Linear,
    MaxPool,
    ReLU,
)
from eventsnn.conversion.blocks import Block, blocks_of
from eventsnn.conversion.early_exit import EarlyExit, ExitResult
from eventsnn.conversion.energy import EnergyEstimate, estimate_energy, multiply_accumulates

__all__ = [
    "ANN",
    "ANNLayer",
    "AvgPool",
    "BatchNorm",
    "Block",
    "Convolution",
    "Dropout",
    "EarlyExit",
    "EnergyEstimate",
    "ExitResult",
    "Flatten",
    "Linear",
    "MaxPool",
    "ReLU",
    "blocks_of",
    "estimate_energy",
    "multiply_accumulates",
]
