"""The administrator's pages: Flask-AppBuilder views that Airflow shows inside its own interface."""
