"""Model folders: a description, weights as safetensors, a card, exported graphs."""
