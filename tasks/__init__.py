"""Prefect tasks: thin wrappers around one ``dda_core`` step each."""

from dda_core.sanitised_logs import sanitise_logs

# Every process that runs our code imports this package: runs, scheduled flows, workers that call a hook.
sanitise_logs()
