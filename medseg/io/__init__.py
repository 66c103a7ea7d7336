"""Bytes to volumes and back: one reader a format, one table of readers."""
