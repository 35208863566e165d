"""The papers, a folder each under its family."""

import data as data  # offers its weights to the encoders by name
