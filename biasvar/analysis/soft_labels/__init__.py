"""Ways to make a soft label: from a label, a teacher, votes, scores, or at random."""
