"""Trains a network: one step, the loop, the optimizer, the saved state, monitoring, distribution."""
