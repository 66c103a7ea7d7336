"""One file per command of the command line that is more than a stage."""
