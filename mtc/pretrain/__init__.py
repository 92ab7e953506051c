"""Masked language modelling before contrastive training."""
