"""Measurements of a network: receptive field, memory, the flow drawn in figures."""
