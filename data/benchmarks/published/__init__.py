"""Benchmarks of full recipes, in the layout of their authors; the user brings the data."""
