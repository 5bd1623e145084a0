-- Groups by what they are called: of a study that comes in parts, the job of the part before is found.
CREATE INDEX inbox_items_groups ON inbox_items (name, folder, sequence) WHERE members <> X'';
