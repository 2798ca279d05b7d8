"""Prefect tasks, one ``dda_core`` step each. ``store`` keeps things in Prefect; ``operations`` run on schedules."""

from dda_core.sanitised_logs import sanitise_logs

# Every process that runs our code imports this package: runs, scheduled flows, workers that call a hook.
sanitise_logs()
