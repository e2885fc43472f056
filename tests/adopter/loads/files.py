"""Where a customer's files are, and what is in one."""

import csv

from django.conf import settings


def files_of(customer, day):
    """The names of a customer's files of one day."""
    return sorted(str(path) for path in (settings.FILES / customer.slug / day.isoformat()).glob("*.csv"))


def read(path):
    """The rows of one file."""
    with open(path, newline="") as file:
        yield from csv.DictReader(file)
