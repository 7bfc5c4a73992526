"""What each page shows, as plain data: the pages draw it and the API gives it as JSON."""
