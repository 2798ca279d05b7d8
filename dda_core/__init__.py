"""The domain of the DDA Pipeline: what a trained model becomes, how things are named, and why steps fail.

Nothing here imports Prefect, so every rule can be read, tested and used on its own.
"""
