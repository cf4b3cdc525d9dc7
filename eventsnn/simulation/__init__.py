"""Exact simulation."""

from eventsnn.simulation.event_driven import simulate
from eventsnn.simulation.result import Result

__all__ = ["Result", "simulate"]
