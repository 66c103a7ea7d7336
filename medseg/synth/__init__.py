"""Synthetic subjects from tissue maps."""
