"""Trains a network: the step, the loop, the optimizer, saved states, monitoring, distribution."""
