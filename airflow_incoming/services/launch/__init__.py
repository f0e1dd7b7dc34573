"""Makes the DAG runs and asset events of events in the caller's transaction.

There are two ways, and both make the same rows. *Singly* is Airflow's own ``create_dagrun``, which can
do everything. *Together* writes the rows of many runs with two INSERTs; it is for DAGs that hold
nothing special, on releases of Airflow that it was proven on (``trust``). Whatever it doesn't know
for certain it leaves to the first way.

The caller's part (one launcher per thread, a *new* session with ``expire_on_commit=False`` and
``autoflush=False`` for every batch: Airflow's rows in an old one grow old and many)::

    launcher.reserve(session, assets)                # of all events: no circle of dispatchers
    launcher.prepare(session, pending)               # three statements for the whole batch
    try:
        started = launcher.launch_together(session, pending)
    except Exception: started = {}                   # it left nothing behind
    for each event that is not in started:
        try:
            with session.begin_nested():             # an event that fails leaves nothing behind
                started[its id] = launcher.launch(session, one)
        except AlreadyLaunched as done:              # another dispatcher was faster, and committed
            started[its id] = done.started
        except DispatchFailed: ...                   # keep detail, retry and waiting_for
    mark the events
    launcher.ask_for_runs(session)                   # of the DAGs that the assets schedule
    session.commit(); launcher.announce()
    on any rollback: launcher.discard()

``TransactionLost`` means that the whole transaction was ended, not just the savepoint: nothing of
the batch is stored, and the batch has to be taken anew. On SQLite the transaction has to begin with
a BEGIN of its own (``db.engine`` sees to that): a SAVEPOINT that begins one is committed by RELEASE.
"""

from __future__ import annotations

from airflow_incoming.services.launch.launcher import AirflowLauncher
from airflow_incoming.services.launch.lookup import run_id_of

__all__ = ["AirflowLauncher", "run_id_of"]
