"""What every engine must hold to (``coordination/resources/base.py``), and what a body may and may not do in a branch.

Each test runs on a real server of each engine in ``ENGINES``. The table of misbehaving bodies is in
``test_participant_bodies.py``; here is what the protocol itself asks of a database.
"""
