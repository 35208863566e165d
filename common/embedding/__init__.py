"""What is done with a trained method: raw texts, pictures and sounds into vectors."""
