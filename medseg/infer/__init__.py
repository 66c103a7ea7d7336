"""Stitching, prediction, model folders and one-file segmentation."""
