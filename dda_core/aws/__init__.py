"""Calling AWS: clients with a use case's role, what its errors mean, and answers that came incomplete.

Every call of the project goes through these clients; no other module knows how credentials are had.
"""
