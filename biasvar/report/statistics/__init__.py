"""Every number of the report: estimates with their errors, from what a run left on disk."""
