"""Exact gradients, derived by hand."""

from eventsnn.gradients.first_spike import Gradients, loss_and_grad

__all__ = ["Gradients", "loss_and_grad"]
