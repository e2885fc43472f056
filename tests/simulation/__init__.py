"""A seeded simulator that runs the product's own two halves through everything that can go wrong, and judges them.

``python -m tests.simulation --help`` says how to run it. One seed is one schedule: the same seed does the same
things in the same order, wherever it runs.

What is real: :mod:`coordination.protocol`, all of it. What is modelled, each in a file: the journal with its guards
(:mod:`.journal`), the broker (:mod:`.bus`), the databases (:mod:`.databases`), nodes (:mod:`.node`, :mod:`.manager`),
worker processes (:mod:`.worker`, :mod:`.execution`) and time (:mod:`.world`). The drivers in here are thin and do what
the product's drivers do, in the same order. :mod:`.weather` says what can go wrong in one schedule, :mod:`.faults`
makes it happen, :mod:`.checks` is what must hold whatever happens, and :mod:`.mutants` proves that it would be seen.
"""
