"""Numbers of networks and their rivals on a set."""
