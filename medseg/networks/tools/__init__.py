"""Measurements of a network: its receptive field, its memory, and its flow for figures."""
