"""Large bodies between services of one machine: through a FIFO that the taking side makes and names in its answer's metadata."""

# Initial metadata: the FIFO's path.
PIPE = "skerry-pipe-bin"
