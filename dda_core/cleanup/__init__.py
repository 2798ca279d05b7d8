"""Leftovers in AWS: unused objects, stale uploads and orphaned jobs."""
