"""The words of the report: numbers, captions, what a run is, claims, and the card, for figures and pages alike."""
