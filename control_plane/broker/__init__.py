"""The broker: the only process that can start and stop agents. It knows verbs and slots, no stores and no secrets."""
