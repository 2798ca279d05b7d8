"""The local stack: an embedded AWS, a Prefect server and a worker, for work without an AWS account."""
