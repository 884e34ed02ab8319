"""What experiments of every kind show when they are done: tables, sweeps, fractions, statistics, costs."""
