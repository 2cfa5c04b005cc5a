"""What the doors share: `asks` (what is asked of several streams at once), `shown` (resources as JSON), `pages` (as HTML)."""
