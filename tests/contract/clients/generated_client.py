"""A client that openapi-python-client made: creates a job, starts it, and reads its status.

Arguments: the folder of the generated package, the address, the token, and the id of a pipeline.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

folder, address, token, pipeline = sys.argv[1:]
sys.path.insert(0, str(Path(folder).parent))
name = Path(folder).name
package = importlib.import_module(name)
jobs = {
    call: importlib.import_module(f"{name}.api.jobs.jobs_{call}")
    for call in ("create", "start", "status")
}
models = importlib.import_module(f"{name}.models")

client = package.AuthenticatedClient(base_url=address, token=token)
wanted = models.JobsCreateRequest(pipeline_id=pipeline, name="generated")
made = jobs["create"].sync(client=client, body=wanted)
assert isinstance(made, models.JobsCreateResponse), made
started = jobs["start"].sync(made.job_id, client=client, body=models.JobsStartBody())
assert isinstance(started, models.JobsStartResponse), started
status = jobs["status"].sync(made.job_id, client=client)
assert isinstance(status, models.JobsStatusResponse), status
missing = jobs["status"].sync("0" * 32, client=client)
assert isinstance(missing, models.Failure), missing
print(json.dumps({"job": made.job_id, "started": started.state, "status": status.state}))
