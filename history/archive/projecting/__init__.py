"""Small tables made from the events, for questions by SQL; each can be made anew from the events at any time."""
