"""Rows of the suite: each module has ``run(options) -> Measured``; `benchmarks.suite.goals` lists them."""
