-- name: add_deployment
INSERT INTO deployments (id, name, package, package_name, package_version, plan_id, plan_name, plan,
    wanted, phase, faults, labels, generation, created, updated)
VALUES (:id, :name, :package, :package_name, :package_version, :plan_id, :plan_name, :plan,
    1, :phase, '[]', :labels, 1, :created, :created);

-- name: add_deployment_dependency
INSERT INTO deployment_dependencies (deployment, position, needs)
VALUES (:deployment, :position, :needs);

-- name: add_deployed_executable
INSERT INTO deployed_executables (deployment, executable, image, gpus, was_up, restarts, reason)
VALUES (:deployment, :executable, '', '', 0, 0, '');

-- name: deployment
SELECT * FROM deployments WHERE id = :id;

-- name: deployments_by_prefix
SELECT id FROM deployments WHERE id >= :prefix AND id < :end ORDER BY id LIMIT 2;

-- name: latest_deployment_of_name
SELECT id FROM deployments WHERE name = :name ORDER BY stopped IS NULL DESC, sequence DESC LIMIT 1;

-- name: live_deployment_of_name
SELECT id FROM deployments WHERE name = :name AND stopped IS NULL;

-- name: live_deployment_of_package
SELECT id, name FROM deployments WHERE package = :package AND stopped IS NULL
ORDER BY sequence LIMIT 1;

-- name: live_deployment_of_plan
SELECT id, name FROM deployments WHERE plan_id = :plan_id AND stopped IS NULL
ORDER BY sequence LIMIT 1;

-- name: deployments
SELECT * FROM deployments ORDER BY sequence;

-- name: live_deployments
SELECT * FROM deployments WHERE stopped IS NULL ORDER BY sequence;

-- name: deployment_needs
SELECT needs FROM deployment_dependencies WHERE deployment = :deployment ORDER BY position;

-- name: live_dependents
SELECT d.id, d.name FROM deployment_dependencies AS n JOIN deployments AS d ON d.id = n.deployment
WHERE n.needs = :needs AND d.stopped IS NULL ORDER BY d.sequence;

-- name: executables_of_deployment
SELECT executable, image, gpus, was_up, restarts, reason, over FROM deployed_executables
WHERE deployment = :deployment;

-- name: set_deployment_phase
UPDATE deployments SET phase = :phase, faults = :faults, updated = :now, stopped = :stopped
WHERE id = :id AND stopped IS NULL AND (wanted = 1 OR :stopped IS NOT NULL);

-- name: set_deployment_unwanted
UPDATE deployments SET wanted = 0, phase = :phase, pending = NULL, updated = :now
WHERE id = :id AND stopped IS NULL;

-- name: set_pending_plan
UPDATE deployments SET pending = :pending, phase = :phase, updated = :now
WHERE id = :id AND stopped IS NULL;

-- name: set_plan
UPDATE deployments SET plan = :plan, pending = NULL, faults = :faults,
    phase = CASE WHEN wanted = 1 THEN :phase ELSE phase END,
    generation = generation + :risen, updated = :now
WHERE id = :id AND stopped IS NULL;

-- name: set_executable_image
UPDATE deployed_executables SET image = :image
WHERE deployment = :deployment AND executable = :executable;

-- name: set_deployment_reserved
UPDATE deployments SET reserved = COALESCE(reserved, :now) WHERE id = :id;

-- name: set_executable_gpus
UPDATE deployed_executables SET gpus = :gpus
WHERE deployment = :deployment AND executable = :executable;

-- name: set_executable_up
UPDATE deployed_executables SET was_up = 1
WHERE deployment = :deployment AND executable = :executable;

-- name: set_executable_restarted
UPDATE deployed_executables SET restarts = restarts + 1, reason = :reason
WHERE deployment = :deployment AND executable = :executable;

-- name: set_executable_over
UPDATE deployed_executables SET over = :over, reason = :reason
WHERE deployment = :deployment AND executable = :executable;

-- name: set_failed_deployment_stopped
UPDATE deployments SET wanted = 0, phase = :phase, updated = :now
WHERE id = :id AND phase = :failed;

-- name: old_deployments
SELECT id FROM deployments WHERE stopped IS NOT NULL ORDER BY sequence DESC LIMIT -1 OFFSET :keep;

-- name: drop_deployment
DELETE FROM deployments WHERE id = :id AND stopped IS NOT NULL;

-- name: snapshot_deployments
SELECT 'deployment' AS kind, e.job, e.body FROM deployments d
JOIN deployment_event e ON e.subject = d.id WHERE d.stopped IS NULL ORDER BY d.sequence;
