"""`eventsnn convert MODEL`: make a trained ReLU network a spiking one, and compare the two."""

from __future__ import annotations

import argparse
from typing import Any

from eventsnn.cli.arguments import natural, percent, positive, scales, share

_FORM = """\
MODEL is a built-in network (mnist_mlp, mnist_cnn, cifar10_cnn, vgg5, vgg16), or the file of one of your own: an .npz
that ANN.save wrote, or an .onnx. Those on MNIST need nothing else; with --data you give other images:

  mnist            the MNIST that eventsnn ships
  IMAGES.npz       with x_train, y_train, x_test and y_test, or with x and y alone
  PATH             CIFAR-10: cifar-10-binary.tar.gz or its folder, or images SPLIT/CLASS/NAME.png

For example: eventsnn convert mnist_mlp --timesteps 32 --scales 0.6,0.8,1.0 --early-exit
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "convert",
        help="make a trained ReLU network a spiking one",
        description=__doc__,
        epilog=_FORM,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="built-in name, or the file of a trained network")
    add("--data", metavar="PATH", help="images to test with; see below")
    add("--download", action="store_true", help="take CIFAR-10 from its authors' site (170 MB, once)")
    add("--images", metavar="N", type=positive, help="test on the first N images (default: all)")
    add(
        "--calibration-images", metavar="N", type=positive, default=500,
        help="training images from which thresholds are set (default: 500)",
    )  # fmt: skip
    add(
        "--method", choices=("percentile", "max", "spike_norm"), default="percentile",
        help="thresholds from a percentile or the maximum of the activations, or from the spiking network itself, one "
        "layer after the other (default: percentile)",
    )  # fmt: skip
    add("--percentile", metavar="P", type=percent, default=99.9, help="of --method percentile (default: 99.9)")
    add(
        "--channel-wise", action=argparse.BooleanOptionalAction,
        help="a threshold per channel, or one per layer (default: per channel behind convolutions)",
    )  # fmt: skip
    add("--timesteps", metavar="T", type=positive, default=64, help="steps of a run (default: 64)")
    add(
        "--scales", metavar="S,S,...", type=scales, default=(1.0,),
        help="factors of all thresholds, a network each (default: 1)",
    )  # fmt: skip
    add(
        "--reset", choices=("subtract", "zero"), default="subtract",
        help="a spike lowers the potential by the threshold, or sets it to 0 (default: subtract)",
    )  # fmt: skip
    add(
        "--calibrate", choices=("none", "bias", "potential", "both"), default="none",
        help="correct what error is left on the calibration images, by biases or initial potentials (default: none)",
    )  # fmt: skip
    add(
        "--input", choices=("constant", "poisson", "latency"), default="constant",
        help="pixels as constant currents, as rates of random spikes, or as latencies (default: constant)",
    )  # fmt: skip
    add(
        "--early-exit", metavar="SHARE", type=share, nargs="?", const=0.005,
        help="also end every image once its decision is safe: at most this share of decisions may differ (default: "
        "0.005)",
    )  # fmt: skip
    add("--out", metavar="DIR", default="runs", help="where the run folder is made (default: runs)")
    add("--seed", metavar="S", type=natural, default=0, help="of the calibration images and random input (default: 0)")
    add("--threads", metavar="N", type=positive, help="threads (the results do not depend on them)")
    add("--no-plots", action="store_true", help="draw no pictures")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run this command."""
    from eventsnn.experiments.conversion import ConversionSettings, convert_model

    settings = ConversionSettings(
        method=options.method,
        percentile=options.percentile,
        channel_wise=options.channel_wise,
        n_steps=options.timesteps,
        scales=options.scales,
        reset=options.reset,
        calibrate=None if options.calibrate == "none" else options.calibrate,
        input=options.input,
        n_images=options.images,
        n_calibration=options.calibration_images,
        seed=options.seed,
        exit_share=options.early_exit,
    )
    convert_model(
        options.model,
        options.out,
        settings,
        data=options.data,
        download=options.download,
        threads=options.threads,
        plots=not options.no_plots,
    )
