"""Saving, time units, and that no global state of matplotlib is touched."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from eventsnn import LIF
from eventsnn.errors import EventSNNError, MissingDependencyError, ValidationError
from eventsnn.plotting import plot_history, style
from eventsnn.plotting.style import new_figure, save, time_unit

HISTORY = [{"epoch": k, "train_loss": 1.0 / k, "train_accuracy": 1 - 0.5 / k} for k in range(1, 6)]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_plotting_does_not_import_pyplot():
    code = (
        "import sys\n"
        "from eventsnn import plotting\n"
        "assert 'matplotlib' not in sys.modules, 'listing the functions must stay light'\n"
        "for name in plotting.__all__: getattr(plotting, name)\n"
        "plotting.plot_history([{'epoch': 1, 'train_loss': 1.0}]).canvas.draw()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert python(code) == "False"


def test_plotting_says_what_is_missing_without_matplotlib():
    code = (
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "from eventsnn import plotting\n"
        "from eventsnn.errors import MissingDependencyError\n"
        "try: plotting.plot_history\n"
        "except MissingDependencyError as error: print(error)"
    )
    assert python(code) == "plotting.plot_history needs matplotlib: pip install matplotlib"
    assert issubclass(MissingDependencyError, ImportError)


def test_plotting_lists_its_functions():
    from eventsnn import plotting

    assert sorted(plotting.__all__) == plotting.__all__ == dir(plotting)
    with pytest.raises(AttributeError, match="plot_nothing"):
        _ = plotting.plot_nothing


def test_plotting_works_in_threads(tmp_path):
    def draw(k):
        path = tmp_path / f"{k}.png"
        plot_history(HISTORY, path=path)
        return path.read_bytes()

    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(draw, range(8)))
    assert pictures == [pictures[0]] * 8


def test_plotting_leaves_rc_parameters_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot_history(HISTORY).canvas.draw()
    assert dict(matplotlib.rcParams) == before


def test_save_writes_png_and_nothing_else(tmp_path):
    path = save(new_figure(2, 1), tmp_path / "new" / "a.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_save_keeps_the_old_picture_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(style.os, "fsync", full)
    with pytest.raises(EventSNNError, match=r"a\.png: No space left on device"):
        save(new_figure(2, 1), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_save_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EventSNNError, match="cannot write"):
        save(new_figure(2, 1), tmp_path / "file" / "a.png")


@pytest.mark.parametrize("name", ["a", "a.txt", "a.png.gz"])
def test_save_names_the_formats(tmp_path, name):
    with pytest.raises(ValidationError, match="png, pdf, svg"):
        save(new_figure(2, 1), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_time_unit_scales():
    assert time_unit("f", 5e-3)(10e-3) == pytest.approx(2.0, rel=1e-15)  # one division
    assert time_unit("f", None, "ms")(10e-3) == pytest.approx(10.0, rel=1e-15)
    assert time_unit("f", None, "s")(10e-3) == 10e-3
    assert np.isinf(time_unit("f", 5e-3)(np.inf))
    assert time_unit("f", None, "ms").label("first spike") == "first spike [ms]"


def test_time_unit_of_neurons_that_differ_is_ms():
    neuron = LIF(tau_mem=10e-3, tau_syn=[5e-3, 6e-3])
    assert time_unit("f", neuron).symbol == "ms"
    assert time_unit("f", LIF(tau_mem=10e-3, tau_syn=[5e-3, 5e-3])).scale == 5e-3


@pytest.mark.parametrize("tau_syn", [0.0, -1.0, np.nan, np.inf, []])
def test_time_unit_rejects_bad_tau_syn(tau_syn):
    with pytest.raises(ValidationError, match=r"plot\.tau_syn: must be finite and > 0"):
        time_unit("plot", tau_syn)


def test_time_unit_rejects_unknown_unit():
    with pytest.raises(ValidationError, match=r"plot\.unit: .*'us'"):
        time_unit("plot", 1.0, "us")


def test_time_unit_of_several_receptors_is_ms():
    assert time_unit("f", LIF(20e-3, {"exc": 5e-3, "inh": 10e-3})).symbol == "ms"
    assert time_unit("f", LIF(20e-3, {"exc": 5e-3, "inh": 5e-3})).scale == 5e-3
    assert time_unit("f", LIF(20e-3, {"exc": [5e-3, 6e-3]})).symbol == "ms"
