"""Prefect tasks: thin wrappers of one ``dda_core`` step each, named after what happens."""

from dda_core.sanitised_logs import sanitise_logs

# Every process that runs our code comes by here: a run's, a scheduled flow's, a worker's that calls a hook.
sanitise_logs()
