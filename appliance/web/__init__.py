"""What both web programs share: login, protection, errors, rendering, the base page and its look."""
