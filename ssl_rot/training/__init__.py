"""The training loop and what it needs: device, processes, checkpoints, signals.

Knows tensors and a log callable, but neither Hydra nor MLflow.
"""
