"""Benchmarks on the user's own data: `ImageFolder`, `ImageText`, `TextPairs`, `Retrieval`, `AudioText`."""
