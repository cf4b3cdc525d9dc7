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
from eventsnn.conversion.import_onnx import ann_from_onnx
from eventsnn.conversion.import_sklearn import ann_from_sklearn
from eventsnn.conversion.import_torch import ann_from_torch
from eventsnn.conversion.models import ModelInfo, load_ann, model_info
from eventsnn.conversion.rounding import round_weights

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
    "ModelInfo",
    "ReLU",
    "ann_from_onnx",
    "ann_from_sklearn",
    "ann_from_torch",
    "blocks_of",
    "estimate_energy",
    "load_ann",
    "model_info",
    "multiply_accumulates",
    "round_weights",
]
