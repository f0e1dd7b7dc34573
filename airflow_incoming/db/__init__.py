"""Tables, migrations and engine of airflow-incoming inside Airflow's metadata database."""
