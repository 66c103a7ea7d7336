"""Scripts that measure medseg; `python -m benchmarks` runs the suite."""
