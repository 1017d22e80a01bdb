"""What the APIs share to ask a model: the model of a request, its options, tools and answers. It knows no API."""
