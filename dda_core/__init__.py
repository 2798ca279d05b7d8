"""The domain of the DDA Pipeline: what a trained model becomes, by which names, and why it may fail.

Nothing here imports Prefect: every rule can be read, tested and used on its own.
"""
