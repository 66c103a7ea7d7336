"""Slabs, windows, drawing and augmenting."""
