"""Setting up a Prefect server: deployments, work pools, limits and automations."""
