"""`papers new`: the folder of a new paper."""
