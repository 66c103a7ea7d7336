"""Stages and commands: they read the recipe, call the library in order, and hand numbers to tracking."""
