"""What keeps the records true: `papers verify`, its spot checks, and the migration of old hashes."""
