from coordination.api import branch_task

from loads.files import read
from loads.models import Account


@branch_task(max_retries=3, autoretry_for=(OSError,))
def load_accounts(db, path):
    for row in read(path):
        Account.objects.using(db).create(**row)
