"""The commit protocol, pure: no I/O, no clock, no randomness, standard library only.

Two halves: :mod:`.coordinator` decides, :mod:`.attempt` takes part. :mod:`.messages` is what they say to each
other, :mod:`.states` the one table of states, :mod:`.gid` the names of prepared transactions. Drivers around
them carry effects out and feed results back; the simulator in ``tests/simulation`` drives the very same code.
"""
