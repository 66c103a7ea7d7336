"""Overlap and surface metrics, and the table of scores."""
