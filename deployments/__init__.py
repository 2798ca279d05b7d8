"""How flows are started and where they run: command line, local stack, Prefect deployments."""
