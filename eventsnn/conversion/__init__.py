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
from eventsnn.conversion.finetune import FineTuned, fine_tune
from eventsnn.conversion.import_onnx import ann_from_onnx
from eventsnn.conversion.import_sklearn import ann_from_sklearn
from eventsnn.conversion.import_torch import ann_from_torch
from eventsnn.conversion.models import ModelInfo, load_ann, model_info
from eventsnn.conversion.report import ConversionReport, LayerReport
from eventsnn.conversion.rounding import round_weights
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
    "FineTuned",
    "Flatten",
    "LayerReport",
    "Linear",
    "MaxPool",
    "ModelInfo",
    "ReLU",
    "SpikingNetwork",
    "ann_from_onnx",
    "ann_from_sklearn",
    "ann_from_torch",
    "blocks_of",
    "convert",
    "estimate_energy",
    "fine_tune",
    "load_ann",
    "model_info",
    "multiply_accumulates",
    "round_weights",
]
