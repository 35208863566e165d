"""`papers embed` and `export`: what a training left, for use elsewhere."""
