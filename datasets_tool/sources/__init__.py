"""Where images come from: folders, archives, databases, arrays."""
