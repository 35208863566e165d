"""Benchmarks whose data are generated."""
