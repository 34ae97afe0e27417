"""Where runs keep their files."""
