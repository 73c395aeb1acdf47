"""What a user can mend: errors whose message is all that `main.py` shows of them."""


class UserError(Exception):
    """Something a user can mend; the message says what was expected, what was found and what to do."""
