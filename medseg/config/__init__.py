"""Recipes: YAML files as frozen models, their checks, their reference page and JSON Schema."""
