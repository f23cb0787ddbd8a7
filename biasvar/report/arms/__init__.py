"""The arms of a run: what each is, which of them answer which question, how they differ."""
