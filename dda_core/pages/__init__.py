"""The pages that people read in the Prefect UI, as Markdown.

They are made from values alone: nothing here asks Prefect or AWS.
"""
