"""The models in the store, as clients name them and as lists describe them; none is loaded here."""
