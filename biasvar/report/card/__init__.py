"""A card for any soft labels: one page on what they say, whether a classifier can be learned from them, and why."""
