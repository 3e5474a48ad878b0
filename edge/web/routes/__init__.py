"""What the page answers: `pages` to people, `api` to its scripts, `answers` where it cannot do what it is asked."""
