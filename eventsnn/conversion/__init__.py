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

__all__ = [
    "ANN",
    "ANNLayer",
    "AvgPool",
    "BatchNorm",
    "Block",
    "Convolution",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool",
    "ReLU",
    "blocks_of",
]
