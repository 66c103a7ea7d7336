"""Recipes fitted to data: plain rules from a fingerprint to the keys of a recipe, each with its reason."""
