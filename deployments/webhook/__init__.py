"""The webhook that starts a run when a training job ends: what it sends, and the CloudFormation stack around it."""
