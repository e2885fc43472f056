from coordination.api import Plan
from django import forms

from loads.files import files_of
from loads.tasks import load_accounts


class Nightly(Plan):
    class Params(forms.Form):
        day = forms.DateField(help_text="Which day's files to load.")

    def branches(self, customer, params):
        for path in files_of(customer, params["day"]):
            yield load_accounts.branch(path, database=customer.database("ledger"))
