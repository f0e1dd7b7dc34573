"""Webhooks for Apache Airflow: an external system posts JSON, a workflow starts."""

from __future__ import annotations

__version__ = "0.1.0"
