"""The files of a data folder as cases, or as coded reasons why they are none."""
