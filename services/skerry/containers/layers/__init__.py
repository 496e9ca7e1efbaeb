"""Image layers on this node: prepared once, mounted once, shared by all containers."""
