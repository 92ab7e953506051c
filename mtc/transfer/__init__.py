"""Multi-task training compared with single-task training."""
