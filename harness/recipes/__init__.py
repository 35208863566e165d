"""From the folder of a paper to the objects that train: cards found, recipes read, arms laid over them, built."""
