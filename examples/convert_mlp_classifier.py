"""A scikit-learn classifier becomes a spiking network, without training: the ten lines of the README, and a picture.

    python examples/convert_mlp_classifier.py --out convert_mlp_classifier.png

The classifier knows 8 x 8 pixel digits. Its spiking counterpart gets each image as constant currents.
"""

import argparse

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from eventsnn import ann_from_sklearn, convert
from eventsnn.plotting import plot_accuracy_over_time


def main():
    """Train, convert, compare, draw."""
    parser = argparse.ArgumentParser(description="An MLPClassifier as a spiking network.")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--out", default="convert_mlp_classifier.png", help="picture to write")
    arguments = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(images / 16, labels, random_state=0)
    mlp = MLPClassifier((64,), max_iter=400, random_state=0).fit(x_train, y_train)
    snn = convert(ann_from_sklearn(mlp), x_train)
    found = snn.accuracy_over_time(x_test, y_test, n_steps=arguments.steps, scales=(0.6, 0.8, 1.0))

    print(snn.report)
    print(found)
    print(f"MLPClassifier.score: {100 * mlp.score(x_test, y_test):.2f} %")
    plot_accuracy_over_time(
        found.accuracy, found.ann_accuracy, scales=found.scales, title="MLPClassifier, digits", path=arguments.out
    )
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()
