"""Data: sources, benchmarks, and the weights that it offers to the encoders."""

from data import checkpoints as checkpoints
