"""What looks back: the story of a trip, the close of a day, and what becomes of dead letters."""
