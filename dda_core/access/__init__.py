"""Checks a run's permissions in AWS before anything is created."""
