"""Training on PyTorch: models, losses, replicas that train together, the recorder, and the loop that ties them."""
