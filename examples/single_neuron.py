"""One neuron with two receptors: exact spike times and a voltage in closed form, checked against a formula by hand.

    python examples/single_neuron.py --out single_neuron.png

An excitatory spike at t = 0 makes the neuron fire twice; inhibition at 20 ms delays what another one at 24 ms does.
Times are in seconds, potentials in units of the threshold.
"""

import argparse

import numpy as np

from eventsnn import LIF, Dense, Network, Population, Projection, given_spikes, simulate
from eventsnn.plotting import plot_traces

TAU_MEM, TAU = 20e-3, {"exc": 10e-3, "inh": 5e-3}  # s
WEIGHT = {"exc": 7.0, "inh": -7.0}
INPUT_TIMES = {"exc": [0.0, 24e-3], "inh": [20e-3]}  # s


def run(t_max):
    """Spikes and potential of a neuron that two inputs of one channel each drive."""
    neuron = LIF(tau_mem=TAU_MEM, tau_syn=TAU)  # v_threshold = 1, v_reset = v_leak = 0
    network = Network(
        inputs={"e": 1, "i": 1},
        populations={"cell": Population(neuron, 1)},
        projections=[
            Projection("e", "cell", Dense([[WEIGHT["exc"]]]), receptor="exc"),
            Projection("i", "cell", Dense([[WEIGHT["inh"]]]), receptor="inh"),
        ],
    )
    spikes = {"e": given_spikes([INPUT_TIMES["exc"]]), "i": given_spikes([INPUT_TIMES["inh"]])}
    return simulate(network, spikes, t_max)


def spike_time_by_hand(current):
    """When v reaches 1 after v = 0 and i_exc = `current` at t = 0, nothing else arriving.

    As tau_mem = 2 tau_exc, y = exp(-t / tau_mem) makes v a polynomial: v = current (y - y**2). The larger root of
    v = 1 comes first.
    """
    return -TAU_MEM * np.log(0.5 * (1 + np.sqrt(1 - 4 / current)))


def v_by_hand(t, spike_times):
    """The potential at times t: every arrival adds its response, every spike takes away what was left of v.

    Of dv/dt = (-v + i)/tau_mem and di/dt = -i/tau: an arrival of weight w at s adds
    w tau/(tau_mem - tau) (exp(-(t - s)/tau_mem) - exp(-(t - s)/tau)); a spike at s resets v from 1 to 0, which adds
    -exp(-(t - s)/tau_mem).
    """
    v = np.zeros_like(t)
    for receptor, arrivals in INPUT_TIMES.items():
        tau = TAU[receptor]
        for s in arrivals:
            after = np.maximum(t - s, 0.0)
            v += WEIGHT[receptor] * tau / (TAU_MEM - tau) * (np.exp(-after / TAU_MEM) - np.exp(-after / tau))
    for s in spike_times:
        v -= np.where(t > s, np.exp(-np.maximum(t - s, 0.0) / TAU_MEM), 0.0)
    return v


def main():
    """Simulate, compare, draw."""
    parser = argparse.ArgumentParser(description="One neuron, two receptors, against the formula by hand.")
    parser.add_argument("--t-max", type=float, default=60e-3, help="end of the simulation in seconds")
    parser.add_argument("--out", default="single_neuron.png", help="picture to write")
    arguments = parser.parse_args()

    result = run(arguments.t_max)
    times = result.spikes["cell"].times
    print("spike  simulated [ms]         by hand [ms]           difference [s]")
    t, current = 0.0, WEIGHT["exc"]
    for k in range(times.size):
        if times[k] < INPUT_TIMES["inh"][0]:
            step = spike_time_by_hand(current)
            t, current = t + step, current * np.exp(-step / TAU["exc"])  # the current goes on through the reset
            print(f"{k + 1:5d}  {times[k] * 1e3:<21.16g}  {t * 1e3:<21.16g}  {times[k] - t:.1e}")
        else:
            v = v_by_hand(times[k : k + 1], times[:k])[0]
            print(f"{k + 1:5d}  {times[k] * 1e3:<21.16g}  (v - threshold there, by hand: {v - 1:.1e})")

    grid = np.linspace(0.0, arguments.t_max, 1001)
    difference = np.abs(result.v("cell", grid)[:, 0] - v_by_hand(grid, times)).max()
    print(f"largest difference of v from the formula at {grid.size} times: {difference:.1e}")
    plot_traces(result, "cell", title="one neuron, two receptors", path=arguments.out)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()
