"""Engines that carry out units of work: in this process, in local worker processes, on a cluster."""
