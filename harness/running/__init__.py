"""Many runs: what is to be done, by whom, how far it is, and what of it goes on record."""
