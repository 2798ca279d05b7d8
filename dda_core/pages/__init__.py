"""The pages that people read in the Prefect UI, as Markdown.

They are rendered from values; nothing here calls Prefect or AWS.
"""
