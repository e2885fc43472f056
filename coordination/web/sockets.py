"""The sockets of the pages of customers."""

from coordination.live.consumers import LiveConsumer
from coordination.live.permission import user_of
from coordination.live.source import Source
from coordination.live.viewer import Bye
from coordination.models import Customer
from coordination.web.overview import CustomerSource, CustomersSource


class CustomersConsumer(LiveConsumer):
    """All customers that the owner of the session may see."""

    def look(self, session_key: str | None) -> Source | int:
        """Their cards, for whoever is signed in."""
        user = user_of(session_key)
        return CustomersSource(user.pk) if user.is_authenticated else Bye.SIGN_IN


class CustomerConsumer(LiveConsumer):
    """One customer."""

    def look(self, session_key: str | None) -> Source | int:
        """Its open batches, for its members."""
        user = user_of(session_key)
        if not user.is_authenticated:
            return Bye.SIGN_IN
        slug = self.scope["url_route"]["kwargs"]["slug"]
        customer = Customer.objects.for_user(user).filter(slug=slug).first()
        return CustomerSource(customer.pk) if customer is not None else Bye.NOT_FOUND
