"""SageMaker Neo compilation jobs, one per attempt and joined if they exist already, and their logs."""
