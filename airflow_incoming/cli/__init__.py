"""``airflow incoming …``."""
