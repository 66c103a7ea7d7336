"""Tracking in MLflow, which no other package imports."""
