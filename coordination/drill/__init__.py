"""The crash drill: failing at each point of the protocol, on the services and databases that are configured.

``manage.py crash_drill`` is its command. It has a node and a worker of its own (:mod:`.crew`), which reach the broker
through a link that can be cut (:mod:`.link`), scratch tables (:mod:`.scratch`), and for each point and fault a batch
that is to commit and one that is to fail (:mod:`.trial`).
"""
