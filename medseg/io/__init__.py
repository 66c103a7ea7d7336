"""Files to volumes and back: one reader per format, one table of readers."""
