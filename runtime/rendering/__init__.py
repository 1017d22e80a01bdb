"""What comes with a model and computes, in a process that can be ended: chat templates, and how tokenizers split."""
