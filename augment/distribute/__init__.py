"""Units in, reports out: in this process, or on a pool of Ray actors that grows and shrinks with its cluster.

Both runners have one signature and give the same bytes: a worker reads sources and writes parts itself, so a unit's
descriptor goes out, a small report comes back, and no image passes through here. The only place that knows Ray.
"""
