"""DICOM exports: files to frames, frames to volumes whose geometry is right, or to coded refusals."""
