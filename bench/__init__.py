"""Measures the losses, recall, training steps and loading beside other libraries."""
