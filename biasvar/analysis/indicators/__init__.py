"""Unreliability and ambiguity of soft labels, and what they say about learning."""
