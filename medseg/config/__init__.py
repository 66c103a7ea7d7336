"""Recipes: YAML to frozen models."""
