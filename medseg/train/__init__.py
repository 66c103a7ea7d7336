"""The loop, its state, its optimisers."""
