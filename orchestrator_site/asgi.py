"""The site as an ASGI application: pages by Django, live views by Channels."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")

from django.core.asgi import get_asgi_application

pages = get_asgi_application()  # first: it sets Django up, and what follows needs that

from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from channels.sessions import CookieMiddleware  # noqa: E402

from coordination.journal.wake import NODE_CHANNEL  # noqa: E402
from coordination.manager.worker import NotANode  # noqa: E402
from coordination.web.routing import websocket_urlpatterns  # noqa: E402
from orchestrator_site.checks import refuse_to_start  # noqa: E402

refuse_to_start()

application = ProtocolTypeRouter(
    {
        "http": pages,
        "websocket": AllowedHostsOriginValidator(CookieMiddleware(URLRouter(websocket_urlpatterns))),
        "channel": ChannelNameRouter({NODE_CHANNEL: NotANode.as_asgi()}),
    }
)
