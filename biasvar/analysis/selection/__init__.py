"""Which training rows are to be distilled: scores of samples, and the choice of rows by a score."""
