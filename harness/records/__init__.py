"""What a record stands for: the identity of a run, its first losses, floors, and where the claims stand."""
