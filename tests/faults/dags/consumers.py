"""DAGs that assets start, whose runs a scheduler makes and ends by itself."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_incoming.triggers import IncomingEventTrigger

news = Asset("news", watchers=[AssetWatcher(name="news", trigger=IncomingEventTrigger("news"))])
for dag_id, asset in {"on_stock": Asset("incoming://stock"), "on_news": news}.items():
    with DAG(dag_id, schedule=[asset], is_paused_upon_creation=False):
        EmptyOperator(task_id="nothing")
