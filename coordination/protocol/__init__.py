"""The commit protocol, pure: no I/O, no clock, no randomness, standard library only.

Two halves: :mod:`.coordinator` decides, with the modules that it names; :mod:`.attempt` and :mod:`.holdings` take part.
:mod:`.messages` is what they say to each other, :mod:`.encoding` how that goes over the wire, :mod:`.states` the one
table of states, :mod:`.gid` the names of prepared transactions. Drivers around them carry effects out and feed results
back; the simulator in ``tests/simulation`` drives the very same code.
"""
