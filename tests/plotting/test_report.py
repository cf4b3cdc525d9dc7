from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from eventsnn import LI, LIF, Dense, ParameterMonitor, Sequential, Spikes, decode_first_spike
from eventsnn.datasets import Dataset, Split, load_xor, load_yin_yang
from eventsnn.errors import EventSNNError, ValidationError
from eventsnn.plotting import plot_confusion_matrix, report_pictures, write_comparison, write_report
from eventsnn.plotting.style import new_figure
from tests.plotting import fake

HISTORY = [{"epoch": k, "train_loss": 1.0 / k, "train_accuracy": 0.5} for k in (1, 2, 3)]
TEST = ["confusion_matrix", "sorted_output_times", "spike_time_histograms", "time_differences"]
SAMPLE = ["raster", "traces", "euler"]
PARAMETERS = ["weight_histograms", "weight_matrices"]
COMMON = ["curve", *TEST, *SAMPLE, *PARAMETERS, "summary"]
YIN_YANG = ["yin_yang_map", "yin_yang_output_times", "yin_yang_time_differences", "yin_yang_hidden_times"]
ENCODING = {"name": "yin_yang", "t_early": 0.15, "t_late": 2.0, "bias_time": 0.9}


@pytest.fixture
def stand_in(monkeypatch):
    """Pictures are tested without the engine; one test below uses the engine itself."""
    monkeypatch.setattr("eventsnn.simulation.simulate", fake.simulate)


@pytest.fixture
def no_ink(monkeypatch):
    """Figures are made but not drawn, which takes most of the time; what is drawn, other tests look at."""

    def save(figure, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    monkeypatch.setattr("eventsnn.plotting.style.save", save)
    monkeypatch.setattr("eventsnn.plotting.sheet._rendered", lambda figure, dpi: np.zeros((9, 9, 4), np.uint8))


@pytest.fixture
def xor():
    return load_xor(tau_syn=5e-3, n_train=4, n_valid=4, n_test=20)


def network_for(dataset, n_hidden=8):
    return fake.make_network([dataset.n_inputs, n_hidden, dataset.n_classes], mean=[1.5, 0.8], std=[1.0, 1.0])


def test_write_report_of_yin_yang_with_the_engine(tmp_path):
    dataset = load_yin_yang(tau_syn=5e-3, bias_time=0.9, n_train=1, n_valid=1, n_test=30)
    paths = write_report(tmp_path, network_for(dataset), dataset, HISTORY, encoding=ENCODING)
    assert [path.stem for path in paths] == ["curve", *TEST, *YIN_YANG, *SAMPLE, *PARAMETERS, "summary"]
    assert sorted(tmp_path.rglob("*.*")) == sorted(paths)
    assert {path.parent for path in paths} == {tmp_path / "plots"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_fake_simulation_agrees_with_the_engine():
    from eventsnn import simulate

    dataset = load_yin_yang(tau_syn=5e-3, bias_time=0.9, n_train=1, n_valid=1, n_test=30)
    network = network_for(dataset, 30)
    ours, theirs = fake.simulate(network, dataset.test.spikes), simulate(network, dataset.test.spikes)
    for name in ("hidden", "output"):
        # Two forms of one quadratic: they part where it cancels, at grazing spikes, never by more than this.
        np.testing.assert_allclose(ours.first_times(name), theirs.first_times(name), rtol=1e-9)
    at = np.linspace(0, 0.9 * theirs.first_times("output")[0].min(), 50)
    np.testing.assert_allclose(ours.v("output", at, 0), theirs.v("output", at, 0), atol=1e-12)


@pytest.mark.usefixtures("stand_in", "no_ink")
def test_write_report_without_encoding_or_history_leaves_their_pictures_out(tmp_path):
    dataset = load_yin_yang(tau_syn=5e-3, n_train=1, n_valid=1, n_test=5)
    paths = write_report(tmp_path, network_for(dataset), dataset, [])
    assert [path.stem for path in paths] == COMMON[1:]


@pytest.mark.usefixtures("stand_in", "no_ink")
def test_write_report_shows_receptive_fields_of_images(tmp_path):
    rng = np.random.default_rng(0)
    times = rng.uniform(1e-3, 1e-2, size=(6, 64))
    split = Split(Spikes.from_first_times(times), np.arange(6) % 2)
    dataset = Dataset("digits", split, split, split, ("a", "b"))
    names = [path.stem for path in write_report(tmp_path, network_for(dataset), dataset, HISTORY)]
    assert names == [*COMMON[:-1], "receptive_fields", "summary"]


@pytest.mark.usefixtures("stand_in", "no_ink")
def test_write_report_goes_on_after_a_failure_and_names_it(tmp_path, xor, monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("no ink")

    monkeypatch.setattr(report_pictures, "plot_weight_matrices", broken)
    with pytest.raises(EventSNNError, match=r"1 of 11 .* failed: weight_matrices.png \(RuntimeError: no ink\)") as info:
        write_report(tmp_path, network_for(xor), xor, HISTORY)
    assert isinstance(info.value.__cause__, RuntimeError)
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == set(COMMON) - {"weight_matrices"}


@pytest.mark.usefixtures("stand_in")
def test_write_report_of_a_network_that_never_spikes(tmp_path, xor):
    dead = fake.make_network([xor.n_inputs, 4, xor.n_classes], mean=[0.0, 0.0], std=[0.0, 0.0])
    assert [path.stem for path in write_report(tmp_path, dead, xor, HISTORY)] == COMMON


@pytest.mark.usefixtures("stand_in", "no_ink")
def test_write_report_simulates_the_test_part_in_blocks(tmp_path, xor, monkeypatch):
    sizes = []

    def spy(network, spikes, t_max, **options):
        sizes.append(spikes.n_samples)
        return fake.simulate(network, spikes)

    monkeypatch.setattr(report_pictures, "_BLOCK", 8)
    monkeypatch.setattr("eventsnn.simulation.simulate", spy)
    write_report(tmp_path, network_for(xor), xor, HISTORY)
    assert sizes == [8, 8, 4, 1]  # the last one for raster and traces


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample": 30}, r"sample: must be an integer in 0 \.\. 29"),
        ({"encoding": {"t_early": 0.15}}, "encoding: t_late missing"),
        ({"encoding": {"t_early": 0.15, "t_late": "2"}}, "encoding.t_late: .*'2'"),
        ({"encoding": {"t_early": 0.15, "t_late": 2.0}}, "4 inputs are needed without bias_time"),
    ],
)
def test_write_report_rejects_bad_input(tmp_path, arguments, message):
    dataset = load_yin_yang(tau_syn=5e-3, bias_time=0.9, n_train=1, n_valid=1, n_test=30)
    with pytest.raises(ValidationError, match=message):
        write_report(tmp_path, network_for(dataset), dataset, HISTORY, **{"encoding": ENCODING, **arguments})
    assert not (tmp_path / "plots").exists()


def test_write_report_rejects_an_empty_test_part(tmp_path, xor):
    empty = Dataset("xor", xor.train, xor.valid, xor.test[:0], xor.class_names)
    with pytest.raises(ValidationError, match="dataset: the test part is empty"):
        write_report(tmp_path, network_for(xor), empty, HISTORY)


@pytest.mark.usefixtures("no_ink")
def test_write_report_draws_delays_and_the_course_of_the_parameters(tmp_path):
    cell = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    chains = [Sequential([Dense([[w]], [[0.1 * w]]), cell]) for w in (5.0, 7.0, 9.0)]
    monitor = ParameterMonitor()
    for epoch, network in enumerate(chains):
        monitor.record(epoch, network)
    split = Split(Spikes.from_first_times([[1.0]]), np.zeros(1, np.int64))
    dataset = Dataset("single", split, split, split, ("out",))
    paths = write_report(tmp_path, chains[-1], dataset, HISTORY, monitor=monitor, target_time=2.0)
    names = ["curve", "learned_spike", *TEST[:-1], *SAMPLE, *PARAMETERS, "delay_histograms", "parameters", "summary"]
    assert [path.stem for path in paths] == names


@pytest.mark.usefixtures("stand_in", "no_ink")
def test_write_report_shows_the_output_times_it_is_given(tmp_path, xor, monkeypatch):
    seen = {}

    def spy(times, labels, names, tau_syn, *, title, **options):
        seen["sorted"] = times
        return new_figure(4.0, 3.0)

    def spy_on_raster(result, *, title, **options):
        seen["raster"] = title
        return new_figure(4.0, 3.0)

    monkeypatch.setattr(report_pictures, "plot_sorted_output_times", spy)
    monkeypatch.setattr(report_pictures, "plot_raster", spy_on_raster)
    noisy = np.random.default_rng(0).uniform(1.0, 2.0, (20, xor.n_classes))
    write_report(tmp_path, network_for(xor), xor, [], output_times=noisy, noisy=True)
    np.testing.assert_array_equal(seen["sorted"], noisy)
    assert seen["raster"].endswith("(without noise)")
    with pytest.raises(ValidationError, match=r"output_times: must have shape \(20, 2\), got \(20, 3\)"):
        write_report(tmp_path, network_for(xor), xor, [], output_times=np.ones((20, 3)))


@pytest.mark.usefixtures("stand_in", "no_ink")
def test_write_comparison_draws_what_does_not_need_a_history(tmp_path, xor):
    paths = write_comparison(tmp_path, network_for(xor), fake.make_network([xor.n_inputs, 8, xor.n_classes]), xor)
    assert [path.stem for path in paths] == COMMON[1:-1]
    assert {path.parent for path in paths} == {tmp_path / "plots" / "untrained"}


@pytest.mark.usefixtures("stand_in")
def test_write_comparison_puts_both_networks_beside_each_other(tmp_path, xor, monkeypatch):
    for others in ("_of_a_sample", "_of_parameters"):
        monkeypatch.setattr(report_pictures.Pictures, others, lambda self: iter(()))
    untrained, trained = network_for(xor), fake.make_network([xor.n_inputs, 8, xor.n_classes], seed=1)
    write_comparison(tmp_path, untrained, trained, xor)
    both = imread(tmp_path / "plots" / "untrained" / "confusion_matrix.png")
    for network, part in ((untrained, slice(None)), (trained, slice(None, None, -1))):
        classes = decode_first_spike(fake.simulate(network, xor.test.spikes).first_times("output"))
        plot_confusion_matrix(xor.test.labels, classes, xor.class_names, title="xor", path=tmp_path / "one.png")
        one = imread(tmp_path / "one.png")[:, part]
        np.testing.assert_array_equal(both[-one.shape[0] :, part][:, : one.shape[1]], one)


def test_write_comparison_rejects_networks_of_different_shape(tmp_path, xor):
    with pytest.raises(ValidationError, match="write_comparison: needs two networks of one shape"):
        write_comparison(tmp_path, network_for(xor, 8), network_for(xor, 9), xor)


def test_write_comparison_needs_predictions_of_readouts(tmp_path, xor):
    readout = Sequential([Dense(np.ones((xor.n_inputs, xor.n_classes))), LI(20e-3, 5e-3)])
    with pytest.raises(ValidationError, match=r"write_comparison.predictions: needed, the outputs"):
        write_comparison(tmp_path, readout, readout, xor, predictions=([0] * 20, None))
