"""Data sets: one loader per file. Each returns a `Dataset` of spikes or currents, `load_cifar10` plain `Images`."""

from eventsnn._shipped import data_path
from eventsnn.datasets.bars import load_bars
from eventsnn.datasets.base import Dataset, Images, Split
from eventsnn.datasets.cifar10 import load_cifar10
from eventsnn.datasets.delayed_match import load_delayed_match
from eventsnn.datasets.mnist import load_mnist
from eventsnn.datasets.single_in_single_out import load_single_in_single_out
from eventsnn.datasets.xor import load_xor
from eventsnn.datasets.yin_yang import generate_yin_yang, load_yin_yang, yin_yang_class

__all__ = [
    "Dataset",
    "Images",
    "Split",
    "data_path",
    "generate_yin_yang",
    "load_bars",
    "load_cifar10",
    "load_delayed_match",
    "load_mnist",
    "load_single_in_single_out",
    "load_xor",
    "load_yin_yang",
    "yin_yang_class",
]
