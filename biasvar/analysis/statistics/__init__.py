"""Intervals, jackknife errors, comparisons, verdicts on claims, and calibration; vectors in, plain floats out."""
