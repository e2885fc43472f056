"""Chaos: a stream of batches on the whole product, faults at random moments, and a check of every row afterwards.

``python -m tests.chaos --seconds 60 --seed 7`` runs it, ``--soak`` the long form that also watches what grows
(``make chaos``, ``make soak``). The same seed draws the same batches and the same faults; how they meet is the
machine's. What is checked is in :mod:`.checker`, and that the checker can fail is tested with :mod:`.defects`.
"""
