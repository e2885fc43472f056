"""Tenants, who belongs to them, and the databases that they may write to."""

from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from coordination.protocol.states import Guarantee


class Role(models.TextChoices):
    """What a member may do for a customer; each role may all that those before it may."""

    VIEWER = "viewer", _("Viewer")
    OPERATOR = "operator", _("Operator")
    APPROVER = "approver", _("Approver")


class CustomerQuerySet(models.QuerySet["Customer"]):
    """Customers, scoped to a viewer."""

    def for_user(self, user: Any) -> "CustomerQuerySet":
        """The customers ``user`` is a member of; all for a superuser, none for an anonymous visitor."""
        if not getattr(user, "is_active", False):
            return self.none()
        if getattr(user, "is_superuser", False):
            return self
        return self.filter(pk__in=Membership.objects.filter(user=user).values("customer"))


class Customer(models.Model):
    """A tenant: people see only the customers they are members of."""

    slug = models.SlugField(unique=True, help_text="Names the customer in URLs and commands.")
    name = models.CharField(max_length=200)
    queue = models.CharField(
        max_length=200, blank=True, help_text="Celery queue of its tasks; empty: Celery's default."
    )
    max_running_batches = models.PositiveIntegerField(default=0, help_text="More wait their turn; 0: no limit.")
    guarantee_floor = models.CharField(
        max_length=20,
        choices=[(g.value, g.words) for g in Guarantee],
        default=Guarantee.COMPENSATED.value,
        help_text="A batch whose guarantee is weaker is refused.",
    )

    objects = CustomerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def database(self, name: str) -> "CustomerDatabase":
        """The database this customer calls ``name``.

        Raises coordination.errors.DatabaseNotGranted, naming the ones it has.
        """
        from coordination.errors import DatabaseNotGranted

        granted = {d.name: d for d in self.databases.all()}
        if name not in granted:
            raise DatabaseNotGranted(customer=self.slug, name=name, granted=sorted(granted))
        return granted[name]

    def role_of(self, user: Any) -> Role | None:
        """The role of ``user`` here, None for an outsider; a superuser is an approver everywhere."""
        if getattr(user, "is_superuser", False):
            return Role.APPROVER
        if not getattr(user, "is_authenticated", False):
            return None
        role = Membership.objects.filter(customer=self, user=user).values_list("role", flat=True).first()
        return Role(role) if role else None


class Membership(models.Model):
    """A person's role for one customer."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.VIEWER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "customer"], name="one_role_a_customer")]

    def __str__(self) -> str:
        return f"{self.user}: {self.get_role_display()} of {self.customer}"


class CustomerDatabase(models.Model):
    """A database granted to a customer, under the customer's own name for it."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="databases")
    name = models.SlugField(help_text="What the customer's plans call it.")
    alias = models.CharField(max_length=100, help_text="Django's alias of the database.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "name"], name="one_alias_a_name")]

    def __str__(self) -> str:
        return f"{self.customer.slug}: {self.name} is {self.alias}"
