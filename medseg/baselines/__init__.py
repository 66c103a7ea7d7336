"""Methods without a network, with the signature of a prediction."""
