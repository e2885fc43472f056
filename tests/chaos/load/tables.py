"""What a chaos run's tasks write. Plain SQL: the checker reads the same tables without Django."""

DATABASES = ("ledger", "warehouse", "crm")
"""The customers' names of their databases."""

TABLES = (
    # One counter a task, and one ledger line for each time that its work was applied.
    "CREATE TABLE chaos_counter (batch uuid, task int, n int NOT NULL, PRIMARY KEY (batch, task))",
    "CREATE TABLE chaos_ledger (batch uuid NOT NULL, task int NOT NULL)",
    # One counter for all batches of plan `order`; each takes the next number in every database.
    "CREATE TABLE chaos_shared (one bool PRIMARY KEY, n int NOT NULL)",
    "INSERT INTO chaos_shared VALUES (true, 0)",
    "CREATE TABLE chaos_order (batch uuid NOT NULL, n int NOT NULL)",
)
