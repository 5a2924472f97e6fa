"""What happens to the binaries where files, disks and clocks misbehave."""
