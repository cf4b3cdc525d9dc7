"""The programs of examples/ run, draw their picture, and print what their texts promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))

#: options that make an example small
SMALL = {
    "balanced_network": ["--n-neurons", "400", "--seconds", "0.5"],
    "convert_mlp_classifier": ["--steps", "32"],
    "single_neuron": [],
    "synfire_chain": ["--group-size", "20"],
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What an example prints; run once."""
    outputs = {}

    def run(name):
        if name not in outputs:
            out = tmp_path_factory.mktemp(name) / "picture.png"
            environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
            done = subprocess.run(
                [sys.executable, str(ROOT / "examples" / f"{name}.py"), *SMALL[name], "--out", str(out)],
                capture_output=True, text=True, check=False, cwd=out.parent, env=environment,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert f"picture: {out}" in done.stdout
            assert out.read_bytes().startswith(b"\x89PNG")
            assert [path.name for path in out.parent.iterdir()] == ["picture.png"]
            outputs[name] = done.stdout
        return outputs[name]

    return run


def test_every_example_is_run_here():
    assert sorted(SMALL) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_says_how_to_run_it(name):
    assert f"python examples/{name}.py " in (ROOT / "examples" / f"{name}.py").read_text().split('"""')[1]


def test_single_neuron_agrees_with_the_formula(printed):
    text = printed("single_neuron")
    times = [float(row[1]) for row in re.findall(r"^ +(\d)  ([\d.]+)", text, flags=re.MULTILINE)]
    assert len(times) == 3
    # v = w (y - y**2) with y = exp(-t / 20 ms) and w = 7 reaches 1 first at the larger root.
    assert times[0] == pytest.approx(-20.0 * np.log(max(np.roots([-7.0, 7.0, -1.0]))), rel=1e-13)
    differences = [float(x) for x in re.findall(r" (-?[\d.]+e-?\d+|0\.0e\+00)$", text, flags=re.MULTILINE)]
    assert len(differences) == 3  # two spikes, and the potential
    # Spike times of some 10 ms, potentials of some 5 terms up to 7: a few roundings of 1e-16 each.
    assert max(map(abs, differences)) < 1e-13
    at_threshold = float(re.search(r"v - threshold there, by hand: (\S+)\)", text).group(1))
    assert abs(at_threshold) < 1e-13


def test_balanced_network_is_slow_and_irregular(printed):
    text = printed("balanced_network")
    for name in ("exc", "inh"):
        found = re.search(rf"^{name}: (\d+) spikes, rate ([\d.]+) Hz, CV of the intervals ([\d.]+)", text, re.MULTILINE)
        n_neurons = {"exc": 320, "inh": 80}[name]
        # printed with two decimals
        assert float(found[2]) == pytest.approx(int(found[1]) / n_neurons / 0.5, abs=0.006)
        # 5 .. 6 Hz for 4,000 neurons; 400 of them share synapses and wander more
        assert 3.0 < float(found[2]) < 9.0
        assert 0.2 < float(found[3]) < 1.5  # a regular train has 0
    n_spikes = sum(int(n) for n in re.findall(r"(\d+) spikes", text))
    n_events = int(re.search(r"([\d,]+) synaptic events", text)[1].replace(",", ""))
    assert n_events / n_spikes == pytest.approx(80, rel=0.1)  # synapses per neuron, binomial with deviation 8
    assert re.search(r"simulated 0\.5 s in [\d.]+ s", text)


def test_convert_mlp_classifier_keeps_the_accuracy(printed):
    text = printed("convert_mlp_classifier")
    score = float(re.search(r"MLPClassifier.score: ([\d.]+) %", text)[1])
    assert score > 95
    assert f"the ANN has {score:.2f}" in text  # the same network, image by image
    found = re.search(r"^ +scale 1 +(.*)$", text, re.MULTILINE)[1].split()
    assert len(found) == 7  # 1, 2, 4, 8, 16, 32 steps, and spikes
    assert float(found[5]) > score - 1.0


def test_synfire_chain_sharpens_the_strong_packet_only(printed):
    packets = printed("synfire_chain").split("packet: ")[1:]
    assert len(packets) == 3
    spread_in = [float(re.search(r"spread ([\d.]+) ms", text)[1]) for text in packets]
    counts = [[int(n) for n in re.search(r"^spikes +(.*)$", text, re.MULTILINE)[1].split()] for text in packets]
    spreads = [
        [float(x) for x in re.search(r"spread \[ms\] +(.*)$", text, re.MULTILINE)[1].split()] for text in packets
    ]
    assert counts[0][1:] == [20] * 9  # every neuron of every group, once
    assert max(spreads[0][1:]) < 0.5 * spread_in[0]
    assert "arrives" in packets[0]
    for k in (1, 2):
        assert counts[k][-1] == 0
        assert "dies out" in packets[k]
    assert spread_in[2] > 2 * spread_in[0]
