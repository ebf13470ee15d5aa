"""What the chat answers without asking a model: `/remind`, `/every`, `/reminders`, `/forget`."""
