"""Small services behind real gRPC with state in memory: what the gateway's tests run against."""
