"""From a trained network with ReLU to a spiking one."""

from eventsnn.conversion.accuracy import AccuracyOverTime
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
from eventsnn.conversion.convert import convert
from eventsnn.conversion.early_exit import EarlyExit, ExitResult
from eventsnn.conversion.energy import EnergyEstimate, estimate_energy, multiply_accumulates
from eventsnn.conversion.import_arrays import load_ann
from eventsnn.conversion.import_sklearn import ann_from_sklearn
from eventsnn.conversion.import_torch import ann_from_torch
from eventsnn.conversion.report import ConversionReport, LayerReport
from eventsnn.conversion.spiking_network import SpikingNetwork

__all__ = [
    "ANN",
    "ANNLayer",
    "AccuracyOverTime",
    "AvgPool",
    "BatchNorm",
    "Block",
    "ConversionReport",
    "Convolution",
    "Dropout",
    "EarlyExit",
    "EnergyEstimate",
    "ExitResult",
    "Flatten",
    "LayerReport",
    "Linear",
    "MaxPool",
    "ReLU",
    "SpikingNetwork",
    "ann_from_sklearn",
    "ann_from_torch",
    "blocks_of",
    "convert",
    "estimate_energy",
    "load_ann",
    "multiply_accumulates",
]
