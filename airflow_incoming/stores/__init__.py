"""Ports made real. Errors of drivers are translated here and nowhere else."""
