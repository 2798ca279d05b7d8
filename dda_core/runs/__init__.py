"""The state of a flow run and its targets: statuses, the history of attempts, retries and liveness."""
