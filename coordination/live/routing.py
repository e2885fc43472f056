"""The websocket address of a batch's page; ``coordination.web.routing`` has all of them."""

from django.urls import path

from coordination.live.consumers import BatchConsumer

websocket_urlpatterns = [
    path("ws/batch/<uuid:batch>/", BatchConsumer.as_asgi(), name="batch_socket"),
]
