"""Published recognition networks: their names and layouts to this project's."""
