"""Runs units on workers: in this process, or on a pool of Ray actors that grows and shrinks with its cluster.

Both runners have one signature and give the same bytes. A worker reads sources and writes parts itself: it gets a
`UnitTask`, returns a `UnitReport`, and no image passes through the driver. No other package imports Ray.
"""
