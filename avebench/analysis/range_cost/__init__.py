"""What a range of attributes costs in time and memory as it grows."""
