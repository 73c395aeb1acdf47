"""What is claimed about speed, as commands: each prints and keeps the ratio to a peer measured in the same run."""
