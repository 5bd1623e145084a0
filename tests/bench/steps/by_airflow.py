"""A DAG of ten tasks, each after the one before, run by Airflow's own `dag.test()` on SQLite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from driver import STEPS, drive

DAG = f"""\
import datetime
import json
import os
import subprocess

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
def steps():
    before = None
    for number in range({STEPS}):

        @task(task_id=f"step_{{number}}")
        def step():
            command = json.loads(os.environ["STEP_COMMAND"])
            subprocess.run(command, check=True, capture_output=True)

        now = step()
        if before is not None:
            before >> now
        before = now


made = steps()
"""

# Airflow runs only DAGs that it finds in this folder.
folder = Path(os.environ["AIRFLOW_HOME"], "dags")
folder.mkdir()
(folder / "steps.py").write_text(DAG)
sys.path.insert(0, str(folder))
program = Path(sys.executable).with_name("airflow")
subprocess.run([program, "db", "migrate"], check=True, stdout=sys.stderr)

from steps import made  # noqa: E402 the database has to be there before


def run(command: Sequence[str]) -> None:
    os.environ["STEP_COMMAND"] = json.dumps(list(command))
    assert made.test().state == "success"


drive(run)
