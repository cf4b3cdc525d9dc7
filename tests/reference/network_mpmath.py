"""All spikes of a network of LIF neurons, to 50 digits: slow, literal, any graph. Never imports eventsnn.

    tau_mem dv/dt = -(v - v_leak) + sum_r i_r + i_bias        tau_r di_r/dt = -i_r        (r: the receptors)

Between two arrivals the distance to the threshold is a sum of exponentials (with a polynomial factor where a receptor
has tau_r == tau_mem). Its crossings are isolated with certainty by Rolle's theorem: multiply by an exponential so that
the slowest term becomes constant, differentiate, and one term is gone. Between the sign changes of the derivative the
sum is monotone; so from the last level, which has none, upwards, every sign change is bracketed, and none is missed.
float64 answers first; where the terms cancel so far that it cannot know a sign, the same code runs with 100 digits.

Every float counts as the exact number it is; a number given as mpf keeps all its digits. Times that agree to 55 digits
are one time.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from itertools import pairwise

import mpmath
from mpmath import mpf, workdps

WORKING_DIGITS = 100
SAME_TIME_DIGITS = 55


class TooManySpikes(Exception):  # noqa: N818
    """The network emits more spikes than the caller allows."""


@dataclass(frozen=True)
class Outcome:
    """What a network did.

    spikes: population -> [(time as mpf, neuron), ...] in the order (time, neuron).
    slopes: population -> [(dv/dt just before the spike as mpf, neuron), ...], the same spikes.
    margin: the smallest distance of a decision "spike or no spike" from turning out the other way: of the highest
    potential before the next arrival, from the threshold; relative to the largest of |v_threshold - v_reset| and the
    potentials that v is made of. A caller may discard networks with a small one.
    """

    spikes: dict[str, list]
    slopes: dict[str, list]
    margin: float


# --- sums of exponentials: terms (rate, c0, c1) stand for (c0 + c1 s) exp(-rate s), the rates ascending ---


class _UndecidedError(Exception):
    """float64 cannot tell the sign of a sum."""


@dataclass(frozen=True)
class _Digits:
    """One precision: below `noise` times its terms a sum counts as zero; a Newton step below `step` s is the last."""

    number: type
    exp: object
    noise: float
    step: float
    exact: bool


FLOAT = _Digits(float, math.exp, 1e-11, 1e-9, False)
EXACT = _Digits(mpf, mpmath.exp, mpf(10) ** -60, mpf(10) ** -56, True)


def _evaluate(terms, s, digits):
    """Value, slope and size (the sum of the absolute values of all that is added) at s."""
    value = slope = size = 0
    for rate, c0, c1 in terms:
        decay = digits.exp(-rate * s)
        amplitude = c0 + c1 * s
        value += amplitude * decay
        slope += (c1 - rate * amplitude) * decay
        size += (abs(c0) + abs(c1 * s)) * decay
    return value, slope, size


def _sign(terms, s, digits):
    value, _, size = _evaluate(terms, s, digits)
    if abs(value) <= digits.noise * size:
        if not digits.exact:
            raise _UndecidedError
        return 0
    return 1 if value > 0 else -1


def _derivative(terms):
    """The derivative, times the exponential that makes its slowest term constant."""
    terms = [(rate, c1 - rate * c0, -rate * c1) for rate, c0, c1 in terms]
    terms = [term for term in terms if term[1] or term[2]]
    return [(rate - terms[0][0], c0, c1) for rate, c0, c1 in terms]


def _chain(terms):
    """The sum, its derivative, the derivative of that ...: each with one term less, until one has a fixed sign."""
    levels = [terms]
    while len(levels[-1]) > 1 or any(c1 for _, _, c1 in levels[-1]):
        levels.append(_derivative(levels[-1]))
    return levels


def _sign_changes(levels, end, digits):
    """The places in (0, end) where levels[0] changes its sign, ascending: at most one between two of levels[1]."""
    if len(levels) == 1:
        return []
    zero = digits.number(0)
    places = [(s, _sign(levels[0], s, digits)) for s in [zero, *_sign_changes(levels[1:], end, digits), end]]
    return [_root(levels[0], a, b, digits) for (a, sa), (b, sb) in pairwise(places) if sa * sb < 0]


def _root(terms, low, high, digits, guess=None):
    """The zero of a sum that is monotone on [low, high]: Newton's iteration, halving where that does not do better."""
    rises = _evaluate(terms, high, digits)[0] > 0
    s = (low + high) / 2 if guess is None else guess
    last = high - low
    for _ in range(1000):
        value, slope, _ = _evaluate(terms, s, digits)
        if (value > 0) == rises:
            high = s
        else:
            low = s
        new = s - value / slope if slope else low
        if not low <= new <= high or 2 * abs(new - s) > last:
            new = (low + high) / 2
        last = abs(new - s)
        if last <= digits.step * new:
            return new  # after this step of Newton's iteration the error is of the order of its square
        s = new
    raise ArithmeticError(f"no convergence between {low} and {high}")


class _Motion:
    """One neuron left alone from `begin` on: v, the forecast of its next spike, and the margin."""

    def __init__(self, terms, v_threshold, scale, begin, clock):
        self.v_threshold, self.scale, self.clock = v_threshold, scale, clock
        self.begin, self.end = begin, clock.t_max - begin
        self.exact_levels = _chain(terms)
        self.float_levels = [[tuple(map(float, term)) for term in level] for level in self.exact_levels]
        self.bound, self.bracket = mpf("inf"), None  # when it fires; a bracket if that is only a lower bound
        try:
            self._forecast(self.float_levels, float(self.end), FLOAT)
        except _UndecidedError:
            self._forecast(self.exact_levels, self.end, EXACT)

    def _forecast(self, levels, end, digits):
        """Find the monotone piece of (0, end] on which the threshold is passed upward; a touch is not."""
        self.turns = _sign_changes(levels[1:], end, digits) if len(levels) > 1 else []
        places = [(s, _sign(levels[0], s, digits)) for s in [digits.number(0), *self.turns, end]]
        for (a, sign_a), (b, sign_b) in pairwise(places):
            at_end = sign_b == 0 and b == end and _sign(levels[1], b, digits) > 0
            if sign_a < 0 and (sign_b > 0 or at_end):
                root = b if at_end else _root(levels[0], a, b, digits)
                if digits.exact:
                    self.bound = self.clock.moment(self.begin + root)
                else:
                    low, high = (mpf(_clear_of(levels[0], root, limit)) for limit in (a, b))
                    self.bound, self.bracket = self.begin + low, (low, high, mpf(root))
                return

    def solve(self):
        """Solve for the time of the spike to all digits."""
        low, high, guess = self.bracket
        root = _root(self.exact_levels[0], low, high, EXACT, guess)
        self.bound, self.bracket = self.clock.moment(self.begin + root), None

    def v(self, time):
        """Membrane potential, as if the neuron did not fire."""
        return _evaluate(self.exact_levels[0], time - self.begin, EXACT)[0] + self.v_threshold

    def slope(self, time):
        """dv/dt, likewise."""
        return _evaluate(self.exact_levels[0], time - self.begin, EXACT)[1]

    def margin(self, until):
        """Relative distance from the threshold of the decisions on (begin, until], up to the first crossing."""
        if until <= self.begin:
            return math.inf
        smallest = self._margin(self.float_levels[0], float(until - self.begin), FLOAT)
        if smallest < 1e-7:
            smallest = self._margin(self.exact_levels[0], until - self.begin, EXACT)
        return smallest

    def _margin(self, terms, end, digits):
        turns = [digits.number(s) for s in self.turns]
        places = [digits.number(0), *(s for s in turns if s < end), end]
        distances = [float(_evaluate(terms, s, digits)[0]) for s in places]
        smallest = math.inf
        for k, (before, after) in enumerate(pairwise(distances)):
            if before >= after:
                continue
            if k > 0:
                smallest = min(smallest, abs(before))
            if before < 0:
                smallest = min(smallest, abs(after))
                if after >= 0:
                    break
        return smallest / self.scale


def _clear_of(terms, root, limit):
    """A place from `root` towards `limit` at which float64 is sure of the sign."""
    gap = 1e-12 * root
    while gap < abs(limit - root):
        s = root + math.copysign(gap, limit - root)
        value, _, size = _evaluate(terms, s, FLOAT)
        if abs(value) > FLOAT.noise * size and (value > 0) == (limit > root):
            return s
        gap *= 4.0
    return limit


class _Neuron:
    """Parameters and state of one neuron. The state holds at `now`; v stays at v_reset until `held_until`."""

    def __init__(self, population, index, clock):
        def value(given):
            return _exact(given[index] if hasattr(given, "__len__") else given)

        self.clock, self.max_spikes = clock, population["max_spikes"]
        self.v_threshold, self.v_reset = value(population["v_threshold"]), value(population["v_reset"])
        self.v_inf = value(population["v_leak"]) + value(population["i_bias"])
        self.t_refrac, self.rate = value(population["t_refrac"]), 1 / value(population["tau_mem"])
        self.rates = {name: 1 / value(tau) for name, tau in population["tau_syn"].items()}
        self.v = value(population.get("v0", population["v_leak"]))
        self.currents = {name: value(population.get("i0", {}).get(name, 0.0)) for name in self.rates}
        self.now = self.held_until = mpf(0)
        self.n_spikes = 0
        self.margin = math.inf
        self.ended = []  # motions that ended with a spike: what would have been without it
        self._start()

    def receive(self, time, jumps):
        """Add the weights [(source neuron, receptor, weight), ...] that arrive at `time`."""
        self.close(time, only_itself=all(source is self for source, _, _ in jumps))
        if self.is_done():
            return
        if self.motion is not None and time > self.motion.begin:
            self.v = self.motion.v(time)
        self.currents = self._currents_at(time)
        self.now = time
        for name in self.rates:
            # Summed before they are added: opposite weights cancel without a trace.
            self.currents[name] += sum(weight for _, receptor, weight in jumps if receptor == name)
        self._start()

    def fire(self, time):
        """Reset, and hold."""
        self.ended.append(self.motion)
        self.currents = self._currents_at(time)
        self.now, self.v, self.held_until = time, self.v_reset, time + self.t_refrac
        self.n_spikes += 1
        self._start()

    def close(self, time, only_itself=False):
        """Take account of how clear the decisions before `time` were: the present one and those for the last spikes.

        Without a spike there would not be its arrivals at the neuron itself: these do not end the time for it.
        """
        motions = [] if self.motion is None else [self.motion]
        if not only_itself:
            motions += self.ended
            self.ended = []
        self.margin = min([self.margin, *(motion.margin(time) for motion in motions)])

    def is_done(self):
        """Whether it has emitted all the spikes that it may."""
        return self.max_spikes is not None and self.n_spikes >= self.max_spikes

    def _start(self):
        """Begin a new motion from the state at `now`, or from the end of the hold."""
        begin = max(self.now, self.held_until)
        self.motion = None
        if not self.is_done() and begin < self.clock.t_max:
            currents = self._currents_at(begin)
            self.motion = _Motion(self._terms(currents), self.v_threshold, self._scale(currents), begin, self.clock)

    def _currents_at(self, time):
        wait = time - self.now
        return {name: i * mpmath.exp(-wait * self.rates[name]) if i else i for name, i in self.currents.items()}

    def _terms(self, currents):
        """v - v_threshold of the neuron left alone, as a sum of exponentials."""
        terms = {self.rate: [self.v - self.v_inf, mpf(0)]}
        size = abs(self.v - self.v_inf)
        for name, current in currents.items():
            rate = self.rates[name]
            if rate == self.rate:
                terms[rate][1] += current * rate
                continue
            share = current * self.rate / (self.rate - rate)
            terms.setdefault(rate, [mpf(0), mpf(0)])[0] += share
            terms[self.rate][0] -= share
            size += abs(share)
        if abs(terms[self.rate][0]) <= EXACT.noise * size:
            terms[self.rate][0] = mpf(0)  # what rounding leaves of equal numbers
        constant = (mpf(0), self.v_inf - self.v_threshold, mpf(0))
        return [constant, *((rate, *terms[rate]) for rate in sorted(terms) if any(terms[rate]))]

    def _scale(self, currents):
        """The largest of the potentials that the motion is made of."""
        driven = sum(abs(i) * min(1, self.rate / self.rates[name]) for name, i in currents.items())
        parts = (self.v_threshold - self.v_reset, self.v_threshold, self.v_inf, self.v - self.v_inf, driven)
        return float(max(abs(part) for part in parts))


# --- the network ---


def _exact(number):
    """The number as mpf, no digit lost; from NumPy too."""
    return +number if isinstance(number, mpf) else mpf(float(number))


class _Clock:
    """The end of time, and all times by their first 55 digits: those that are mathematically one are one number."""

    def __init__(self, t_max):
        self.t_max, self.known = t_max, {t_max: t_max}

    def moment(self, time):
        """The time itself, or the one already known that agrees with it."""
        with workdps(SAME_TIME_DIGITS):
            key = +time
        return self.known.setdefault(key, time)


@workdps(WORKING_DIGITS)
def simulate_reference(spec, max_events=2000):
    """Simulate one sample of the network `spec` from t = 0 to its `t_max` (finite).

    spec = {"populations": [{"name", "n", "tau_mem", "tau_syn": {receptor: tau}, "v_threshold", "v_reset", "v_leak",
    "t_refrac", "i_bias", "max_spikes", optionally "v0", "i0": {receptor: i}}, ...], "inputs": [{"name", "n"}, ...],
    "projections": [{"source", "target", "receptor", "synapses": [(j, k, weight, delay), ...]}, ...],
    "spikes": {input: [(neuron, time), ...]}, "t_max"}; parameters are numbers or one per neuron, a number is a float or
    an mpf; a receptor of None is the only one of the target.

    A spike exactly at t_max is emitted, what arrives later is ignored. A neuron that reaches the threshold at the time
    of an arrival fires before it; a spike arrives over a synapse without delay at the time of, and after, its emission.
    Raises TooManySpikes for more than `max_events` spikes.
    """
    clock = _Clock(_exact(spec["t_max"]))
    neurons, owners = [], []  # in the order of populations and of neurons: the order of simultaneous spikes
    first = {}
    for population in spec["populations"]:
        first[population["name"]] = len(neurons)
        neurons += [_Neuron(population, k, clock) for k in range(population["n"])]
        owners += [(population["name"], k) for k in range(population["n"])]
    synapses = _outgoing(spec, neurons, first)
    arrivals, times = {}, []  # time -> [(source neuron or None, target, receptor, weight), ...]; a heap of the times

    def send(source, neuron, time):
        for target, receptor, weight, delay in synapses.get(source, ()):
            arrival = clock.moment(time + delay)
            if arrival <= clock.t_max:
                if arrival not in arrivals:
                    arrivals[arrival] = []
                    heapq.heappush(times, arrival)
                arrivals[arrival].append((neuron, target, receptor, weight))

    for name, events in spec["spikes"].items():
        for j, time in events:
            send((name, j), None, _exact(time))
    spikes = {population["name"]: [] for population in spec["populations"]}
    slopes = {population["name"]: [] for population in spec["populations"]}
    n_spikes = 0
    while True:
        bounds = [mpf("inf") if neuron.motion is None else neuron.motion.bound for neuron in neurons]
        k = min(range(len(neurons)), key=bounds.__getitem__)
        if bounds[k] <= (times[0] if times else clock.t_max):
            motion = neurons[k].motion
            if motion.bracket is not None:
                motion.solve()
                continue
            name, index = owners[k]
            n_spikes += 1
            if n_spikes > max_events:
                raise TooManySpikes(f"more than {max_events} spikes up to t = {float(bounds[k])}")
            spikes[name].append((bounds[k], index))
            slopes[name].append((motion.slope(bounds[k]), index))
            neurons[k].fire(bounds[k])
            send((name, index), neurons[k], bounds[k])
        elif times:
            time = heapq.heappop(times)
            jumps = {}
            for source, target, receptor, weight in arrivals.pop(time):
                jumps.setdefault(target, []).append((source, receptor, weight))
            for target, received in jumps.items():
                neurons[target].receive(time, received)
        else:
            break
    for neuron in neurons:
        neuron.close(clock.t_max)
    return Outcome(spikes, slopes, min(neuron.margin for neuron in neurons))


def _outgoing(spec, neurons, first):
    """(name of the source, its neuron) -> [(target neuron, receptor, weight, delay), ...]."""
    synapses = {}
    for projection in spec["projections"]:
        for j, k, weight, delay in projection["synapses"]:
            target = first[projection["target"]] + k
            receptor = projection["receptor"]
            if receptor is None:
                (receptor,) = neurons[target].rates
            synapse = (target, receptor, _exact(weight), _exact(delay))
            synapses.setdefault((projection["source"], j), []).append(synapse)
    return synapses
