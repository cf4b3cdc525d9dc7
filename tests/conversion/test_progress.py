import time
from importlib import import_module

import pytest

from eventsnn.conversion import convert
from eventsnn.conversion.progress import BatchBar
from eventsnn.simulation import progress
from tests.conversion.small_networks import perceptron


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.01)


def test_batch_bar_counts_images_of_all_stages_and_says_which(capsys):
    with BatchBar("convert", 40, enabled=True) as bar:
        time.sleep(0.3)
        bar.advance(10, "conv1")
        bar.advance(20, "conv2")
        time.sleep(0.3)
        bar.advance(10, "output")
    shown = capsys.readouterr().err
    assert "convert:" in shown
    assert "40/40" in shown
    assert "output" in shown


def test_batch_bar_stays_away_from_short_runs_and_on_request(capsys, monkeypatch):
    with BatchBar("convert", 40, enabled=False) as bar:
        time.sleep(0.1)
        bar.advance(10, "conv1")
    monkeypatch.setattr(progress, "DELAY", 60.0)
    with BatchBar("convert", 40, enabled=True) as bar:
        bar.advance(10, "conv1")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "spike_norm"},
        {"calibrate": "bias"},
        {"calibrate": "both", "method": [2.0, 2.0]},
        {"calibrate": "potential", "method": "max"},
    ],
)
def test_the_bar_of_a_conversion_ends_at_its_total(options, monkeypatch):
    bars = []

    class Recorded(BatchBar):
        def __init__(self, title, n_images, *, enabled):
            super().__init__(title, n_images, enabled=False)
            bars.append([n_images, 0])

        def advance(self, n_images, stage):
            bars[-1][1] += n_images

    # the function `convert` hides the module of its name
    monkeypatch.setattr(import_module("eventsnn.conversion.convert"), "BatchBar", Recorded)
    ann, _, images = perceptron()
    convert(ann, images, n_steps=4, **options)
    total, done = bars[0]
    assert total == done > 0
