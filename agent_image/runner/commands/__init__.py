"""What the chat answers without asking a model: reminders and jobs, and what is remembered of a person."""
