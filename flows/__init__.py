"""Prefect flows: the story in order."""
