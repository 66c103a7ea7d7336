"""The benchmark suite: medseg and its peers in turn on one machine, with one table as its result."""
