"""The HTTP server in front of the loaded models, with one folder per API; building is passed in as an `Application`."""
