"""Benchmarks on small real data that ordinary packages ship."""
