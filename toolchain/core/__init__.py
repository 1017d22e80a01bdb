"""What all rooms of the toolchain speak of: actions and their keys, steps, locks. Who makes and uses them is above."""
