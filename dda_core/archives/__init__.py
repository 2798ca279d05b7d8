"""Archives as streams: read from S3 or a file, checked on the way, written to S3 or a file.

Nothing is unpacked to disk, and memory use does not depend on the archive's size.
"""
