-- Pipelines that files of pipelines.d define. One whose file is gone counts as removed; it comes back
-- under the same id with its file.

ALTER TABLE pipelines ADD COLUMN source TEXT;   -- path of the file in pipelines.d; NULL: of the API
CREATE UNIQUE INDEX pipelines_of_files ON pipelines (source) WHERE source IS NOT NULL;
