"""What a device requires of a package: the rules as data, findings on manifests, compiled archives and packages, and a
model of the device that simulates its steps.
"""
