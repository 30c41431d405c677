"""What acts: facts are noted, then the trip is advanced, one step after the other, each kept before it is sent."""
