"""The logic of the command line's verbs, without the terminal."""
