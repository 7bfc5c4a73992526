"""Tables, plots and live views for a terminal."""
