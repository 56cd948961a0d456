"""What a person looks at: the contact sheet (PNG) and the report (one HTML file). Plain data in, bytes out."""
