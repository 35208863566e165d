"""What is made from cards and records: pages, figures, rankings, the list of references."""
