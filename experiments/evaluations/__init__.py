"""Each evaluation, from what it measures to the folder it writes."""
