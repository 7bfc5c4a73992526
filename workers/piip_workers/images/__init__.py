"""Image files: where they are, what is known of them, how they are decoded."""
