"""SageMaker training jobs: reading one, finding those that are completed, and the events of their end."""
