"""The directory of a run: its records, its checkpoints, and its copy in a bucket."""
