"""``serve`` and ``dispatch``: our two kinds of process."""

from __future__ import annotations

import signal
import threading
from argparse import Namespace
from dataclasses import asdict
from typing import Any

from airflow_incoming import bootstrap
from airflow_incoming.cli.output import Result, command, note


@command
def serve(args: Namespace) -> Result:
    """Run the receiver alone."""
    from airflow_incoming.web.server import PREFIX, run

    bootstrap.settings()  # a wrong option is told here, not by each worker
    note(f"Receiving at http://{args.host}:{args.port}{PREFIX}/<endpoint id>, {args.workers} worker(s)")
    run(args.host, args.port, args.workers)
    return None


@command
def dispatch(args: Namespace) -> Result:
    """Run a dispatcher in the foreground until SIGTERM or SIGINT."""
    loop = bootstrap.dispatch_loop()
    if args.once:
        return asdict(loop.drain())

    def stop(*_: Any) -> None:
        # Not here: this interrupts the loop, perhaps while it holds the lock that stopping takes.
        threading.Thread(target=loop.stop, kwargs={"timeout": 0}, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    note("Dispatching. SIGTERM or Ctrl-C finishes the batch in hand and stops.")
    loop.run()
    return None
