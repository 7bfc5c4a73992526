"""The content of each page as plain data, which pages draw and the API returns as JSON."""
