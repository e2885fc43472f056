-- The first PostgreSQL server holds the journal (made by its image) and two of the databases that tasks write to.
CREATE DATABASE ledger;
CREATE DATABASE warehouse;
