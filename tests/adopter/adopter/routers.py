class LedgerRouter:
    """Accounts are in the customers' ledgers, everything else in the project's own database."""

    def allow_migrate(self, db, app_label, **hints):
        return (app_label == "loads") == db.endswith("_ledger")
