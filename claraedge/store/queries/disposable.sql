-- name: add_disposable
INSERT OR IGNORE INTO disposable (path) VALUES (:path);

-- name: drop_disposable
DELETE FROM disposable WHERE path = :path;

-- name: disposables
SELECT path FROM disposable WHERE path >= :kind || '/' AND path < :kind || '0';

-- name: drop_disposables
DELETE FROM disposable WHERE path >= :kind || '/' AND path < :kind || '0';
