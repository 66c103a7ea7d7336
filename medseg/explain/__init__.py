"""Looking inside a trained network: Grad-CAM."""
