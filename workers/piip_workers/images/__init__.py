"""Image files: their location, known facts about them, and decoding."""
