from __future__ import annotations

import time

import pytest

from eventsnn.simulation import progress
from eventsnn.simulation.progress import TimeBar


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.01)


def test_time_bar_says_what_it_waits_for_and_counts(capsys):
    with TimeBar(0.0, 2.0, 2, enabled=True) as bar:
        report = bar.reporter()
        time.sleep(0.3)
        for t in (0.5, 1.0, 2.0):
            report(t, int(1000 * t))
            time.sleep(0.25)
    shown = capsys.readouterr().err
    assert "compiling, on first use" in shown
    assert "simulate:  50%" in shown
    assert "2/4" in shown
    assert "2,000 spikes" in shown


def test_time_bar_without_an_end_shows_spikes(capsys):
    with TimeBar(0.0, float("inf"), 1, enabled=True) as bar:
        report = bar.reporter()
        report(0.5, 10)
        time.sleep(0.3)
        report(1.0, 20)
    assert "20 spikes" in capsys.readouterr().err


def test_time_bar_stays_away_from_short_runs(capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 60.0)
    with TimeBar(0.0, 2.0, 1, enabled=True) as bar:
        bar.reporter()(1.0, 5)
    with TimeBar(0.0, 2.0, 1, enabled=False) as bar:
        assert bar.reporter() is None
    assert capsys.readouterr().err == ""
