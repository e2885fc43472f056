"""Websocket addresses, for a project's ``asgi.py``.

Wrap them in ``AllowedHostsOriginValidator`` and ``AuthMiddlewareStack``: the first refuses other sites' pages at the
handshake, the second brings the session that permission is read from.
"""

from django.urls import path

from coordination.live.consumers import BatchConsumer

websocket_urlpatterns = [
    path("ws/batch/<uuid:batch>/", BatchConsumer.as_asgi(), name="batch_socket"),
]
