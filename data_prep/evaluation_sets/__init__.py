"""Published test sets: scans, pair lists, their landmarks."""
