"""Measures the receiver and the dispatcher beside what a user would pick instead. See README.md."""
