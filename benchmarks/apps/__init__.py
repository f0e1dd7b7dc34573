"""What we are compared with, as a good engineer would write it in an afternoon."""
