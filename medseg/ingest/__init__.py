"""Paths to cases, or to coded rows."""
