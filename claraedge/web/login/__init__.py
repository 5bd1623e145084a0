"""The page on which a browser shows the token once, and gets a cookie for it."""
