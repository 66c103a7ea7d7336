"""One short file per stage: they read the recipe, call the library in order, hand numbers to tracking."""
