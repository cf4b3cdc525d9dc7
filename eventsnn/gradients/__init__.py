"""Exact gradients, derived by hand."""

from eventsnn.gradients.check import GradientReport, check_gradients
from eventsnn.gradients.first_spike import Gradients, loss_and_grad

__all__ = ["GradientReport", "Gradients", "check_gradients", "loss_and_grad"]
