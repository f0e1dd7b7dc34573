"""The DAGs that assets start: what came for them, and whether a run of theirs has got it.

Airflow's scheduler gives a run the asset events that aren't newer than the entry in the queue which
asks for the run, and are newer than the run before. That entry keeps the time of the *first* event.
Whatever came between the first event and the run is in no run, unless a later event comes to ask for
one (apache/airflow#56050); nothing asks at all for what comes while a DAG is paused.

Three things see to it that each event of ours is in exactly one run of each such DAG:

``stamping``
    The transaction that makes asset events gives them, and the entries of the queue, one time that is
    later than every run.
``discovery`` and ``requeueing``, by ``sweep``
    What others make of our events (a triggerer's watchers), what comes for paused DAGs, and what a
    scheduler has missed is noted, and asked for until a run has it. What a run had once is never asked
    for again, whatever becomes of that run; ``deletions`` knows of runs that are gone before anybody saw
    what they had.
``clocks``
    Where a wrong clock has given a DAG a run of the future, a run is made of exactly what came.

In words, ``outlook`` tells what a consumer waits for.

All of it goes by locks on Airflow's rows of DAGs, which schedulers hold while they make runs.
"""
