"""`Trainer.learn`: what is asked to be learned, by kind or by name, checked once for all models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from eventsnn._names import hint
from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.training.learned_delays import LearnedDelay, learned_delay

__all__ = ["Rate", "asked", "chosen", "kind_of"]

#: relative learning rate, of delays also how they are learned
Rate = float | LearnedDelay


def kind_of(name: str) -> str:
    """Of "exc->inh.weight" "weight", of "exc.tau_syn[ampa]" "tau_syn"."""
    return name.rpartition(".")[2].partition("[")[0]


def asked(learn: Any, known: Collection[str], kinds: Sequence[str]) -> dict[str, Rate]:
    """The entries of `Trainer.learn`, with keys out of `known` (names) and `kinds`; of delays always `LearnedDelay`.

    Raises
    ------
    ValidationError
        No dict, an unknown key, a parameter that cannot be learned, or no rate.
    """
    if not isinstance(learn, Mapping):
        raise ValidationError(
            f"Trainer.learn: must be a dict of learning rates by kind or name, got {type(learn).__name__}"
        )
    found: dict[str, Rate] = {}
    for key, how in learn.items():
        if key not in kinds and key not in known:
            raise ValidationError(f"Trainer.learn: no parameter {key!r}{hint(key, [*kinds, *known])}")
        if key not in kinds and kind_of(key) not in kinds:
            raise ValidationError(f"Trainer.learn: {key} cannot be learned; what can is {', '.join(kinds)}")
        where = f"Trainer.learn[{key!r}]"
        if kind_of(key) == "delay":
            found[key] = learned_delay(where, how)
        elif isinstance(how, LearnedDelay):
            raise ValidationError(f"{where}: LearnedDelay is for delays; give a number")
        else:
            found[key] = number(where, how, at_least=0.0)
    return found


def chosen(
    learn: Any, known: Collection[str], kinds: Sequence[str], is_left_out: Callable[[str, bool], bool]
) -> dict[str, Rate]:
    """What is learned, by name, in the order of `known`.

    is_left_out : called with a name that would be learned and whether it was asked for by that name; it may raise

    Raises
    ------
    ValidationError
        As `asked`; or nothing is left to learn.
    """
    wanted = asked(learn, known, kinds)
    found: dict[str, Rate] = {}
    for name in known:
        how = wanted.get(name, wanted.get(kind_of(name), 0.0))
        rate = how.rate if isinstance(how, LearnedDelay) else how
        if rate > 0.0 and not is_left_out(name, name in wanted):
            found[name] = how
    if not found:
        raise ValidationError(f"Trainer.learn: {dict(learn)} leaves nothing to learn in this network")
    return found
