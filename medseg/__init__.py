"""medseg: 2.5D segmentation of volumetric MRI."""

__version__ = "0.1.0"
