"""`make bench`: Skerry beside Debian's dockerd, the same work in turns, as ratios."""
