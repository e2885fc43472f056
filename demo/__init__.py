"""A customer's load, as a user of the product would write it: models, tasks and a plan, nothing else."""
