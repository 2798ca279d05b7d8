"""Calling AWS: clients with a use case's role, error codes, truncated responses, retries and tags.

Every AWS call of the project goes through these clients; no other module obtains credentials.
"""
