"""The home-made receiver that most teams begin with: gunicorn, Flask, psycopg2, one commit each."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime, timezone
from uuid import uuid4

import flask
import psycopg2.pool
from redis import Redis

from benchmarks.apps.bare import SCHEMA, WINDOW

INSERT = "insert into event values (%s, %s, %s, %s, %s) on conflict (hash) do nothing"

app = flask.Flask(__name__)
redis = Redis.from_url(os.environ["BENCH_REDIS"])
pool = psycopg2.pool.ThreadedConnectionPool(1, 16, os.environ["BENCH_DATABASE"])


@app.post("/events")
def receive() -> flask.typing.ResponseReturnValue:
    payload = flask.request.get_json()
    hash_ = hashlib.sha256(str(payload["order"]["id"]).encode()).hexdigest()
    if redis.getex(f"bare:{hash_}", px=WINDOW):
        return "", 204
    event_id = str(uuid4())
    headers = json.dumps(dict(flask.request.headers))
    body = flask.request.get_data(as_text=True)
    connection = pool.getconn()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(INSERT, (event_id, hash_, datetime.now(timezone.utc), body, headers))
            stored = cursor.rowcount
    finally:
        pool.putconn(connection)
    redis.set(f"bare:{hash_}", event_id, px=WINDOW)
    return {"status": "accepted", "event_id": event_id} if stored else ("", 204)


def make_table() -> None:
    """Make the table; called once, before the workers start."""
    connection = psycopg2.connect(os.environ["BENCH_DATABASE"])
    with connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA)
    connection.close()
