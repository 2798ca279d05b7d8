"""What a device does with a package: its rules as data, the findings on a manifest or a compiled archive, and a model
of the device that goes through the same steps.
"""
