"""The training of one fold, composed from a recipe."""
