"""`make site`: static pages of what is on record, which open from the disk without a network."""
