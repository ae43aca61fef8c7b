"""The transformer network: architecture.py, layers.py, network.py. Then training/, export/ and inference/."""
