"""What a program would do on the device, found without one: `ttreg coverage`."""
