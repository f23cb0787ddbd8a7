"""Noise, bias and variance of the expected loss, per sample and in total."""
