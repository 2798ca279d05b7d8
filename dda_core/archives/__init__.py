"""Archives as streams: read from S3 or a file, checked on the way, written to S3 or a file.

Nothing is unpacked to disk, and memory does not grow with the size of an archive.
"""
