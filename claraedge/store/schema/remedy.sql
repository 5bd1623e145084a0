-- What to do about an item is called the same everywhere.
ALTER TABLE inbox_items RENAME COLUMN mend TO remedy;
