"""Tables, CSV files, figures, pages and videos."""
