"""Geometry, grey values and the store of prepared arrays."""
