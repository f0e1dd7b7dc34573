"""What the demo, the tests and the benchmarks share: real services, started and stopped cleanly.

Only the standard library is used, because the demo begins before anything is installed.
"""
