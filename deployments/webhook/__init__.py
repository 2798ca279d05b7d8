"""The webhook that starts a run when a training job completes: its request and its CloudFormation stack."""
