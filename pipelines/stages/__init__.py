"""The stages of a run, one file each; they do not know each other."""
