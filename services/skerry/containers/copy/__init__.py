"""`docker cp`, and what a build needs of it: a container's files in and out as tar, by a process with a mount namespace of its own."""
