"""Websocket addresses, for a project's ``asgi.py``.

Wrap them in Channels' ``AllowedHostsOriginValidator``, which refuses other sites' pages at the handshake, and
``CookieMiddleware``: permission is read from the session that the cookie names. ``AuthMiddlewareStack`` would do too,
but it reads the journal itself and answers a handshake with an error while the journal is away.
"""

from django.urls import path

from coordination.live.routing import websocket_urlpatterns as batch_urlpatterns
from coordination.web.attention import AttentionConsumer
from coordination.web.sockets import CustomerConsumer, CustomersConsumer

websocket_urlpatterns = [
    *batch_urlpatterns,
    path("ws/attention/", AttentionConsumer.as_asgi(), name="attention_socket"),
    path("ws/customers/", CustomersConsumer.as_asgi(), name="customers_socket"),
    path("ws/customer/<slug:slug>/", CustomerConsumer.as_asgi(), name="customer_socket"),
]
