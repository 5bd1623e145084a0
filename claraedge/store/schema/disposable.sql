-- Files of the state that nobody needs: on their way to a row, or given up by one. Whatever else no row
-- names was made by a newer database than this one, and is kept.
CREATE TABLE disposable (
    path TEXT PRIMARY KEY           -- relative to the state; also of what begins so, followed by a hyphen
) STRICT, WITHOUT ROWID;
