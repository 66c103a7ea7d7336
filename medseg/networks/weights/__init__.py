"""Pretrained weights: files, downloads, and starting from another trained network."""
