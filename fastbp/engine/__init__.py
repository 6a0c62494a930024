"""From a network to compiled code at work: tables, jobs, teams of threads, inference."""
