"""``manage.py demo_data``: customers, their databases and people, for the demo. Run again, it adds what is missing."""

import os
import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import transaction

from coordination.models import Customer, CustomerDatabase, Membership, Role
from demo.plans import DATABASES

CUSTOMERS = {"acme": "Acme", "globex": "Globex", "initech": "Initech"}


class Command(BaseCommand):
    """Makes the demo's customers and people."""

    help = (
        "Make the demo's customers (acme, globex, initech) with their databases, and people to sign in as. Passwords "
        "are random and printed once, unless DEMO_PASSWORD is set. What exists stays as it is."
    )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        for slug, name in CUSTOMERS.items():
            customer, _ = Customer.objects.get_or_create(slug=slug, defaults={"name": name})
            for database in DATABASES:
                CustomerDatabase.objects.get_or_create(
                    customer=customer, name=database, defaults={"alias": f"demo_{database}"}
                )
            self._person(f"{slug}_operator", member_of=customer, role=Role.OPERATOR)
        self._person("acme_staff", member_of=Customer.objects.get(slug="acme"), role=Role.VIEWER, is_staff=True)
        self._person("admin", is_staff=True, is_superuser=True)

    def _person(
        self, username: str, *, member_of: Customer | None = None, role: Role = Role.VIEWER, **flags: bool
    ) -> None:
        users = get_user_model().objects
        user = users.filter(username=username).first()
        if user is None:
            given = os.environ.get("DEMO_PASSWORD", "")
            password = given or secrets.token_urlsafe(12)
            user = users.create_user(username, password=password, **flags)
            self.stdout.write(f"{username}: password {'as in DEMO_PASSWORD' if given else password}")
        if member_of is not None:
            Membership.objects.get_or_create(user=user, customer=member_of, defaults={"role": role})
