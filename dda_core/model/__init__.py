"""The trained model and the package that is made of it: reading one, writing the other, and checking both.

The package is what a device unpacks; the room ``device`` says whether it can run it.
"""
