"""Pictures and the self-contained page."""
