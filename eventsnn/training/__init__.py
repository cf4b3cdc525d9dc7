"""Losses, optimisers, and the `Trainer`."""
