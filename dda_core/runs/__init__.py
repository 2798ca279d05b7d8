"""Where a flow run and its targets stand: statuses, the history of attempts, and what a retry does."""
