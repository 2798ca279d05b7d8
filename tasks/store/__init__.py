"""Prefect as the place where things are kept: records of runs, artifacts, use cases, approvals."""
