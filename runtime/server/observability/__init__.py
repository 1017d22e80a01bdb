"""What those need who run a server: health, metrics, logs, and an orderly end. No API of models."""
