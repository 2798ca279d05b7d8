"""SageMaker training jobs: reading one, finding completed ones, and their completion events."""
