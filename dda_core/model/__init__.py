"""Reading the trained model, and building and verifying the package made from it.

The package is what a device unpacks; the ``device`` package checks whether a device can run it.
"""
