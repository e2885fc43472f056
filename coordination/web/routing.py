"""Websocket addresses, for a project's ``asgi.py``.

Wrap them in Channels' ``AllowedHostsOriginValidator``, which refuses other sites' pages at the handshake, and
``CookieMiddleware``: permission is read from the session that the cookie names. ``AuthMiddlewareStack`` would do too,
but it reads the journal itself and answers a handshake with an error while the journal is away.
"""

from coordination.live.routing import websocket_urlpatterns as batch_urlpatterns

websocket_urlpatterns = [*batch_urlpatterns]
