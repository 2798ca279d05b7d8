"""SageMaker Neo compilation jobs: one job per attempt, joined where it exists already, and their logs."""
