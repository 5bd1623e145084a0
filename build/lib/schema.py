"""Makes claraedge/pipelines/definition.schema.json of the declarations of the language.

python build/lib/schema.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from claraedge.pipelines.export.schema import text

TARGET = Path(__file__).resolve().parents[2] / "claraedge/pipelines/definition.schema.json"


def main() -> int:
    made = text()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(made, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != made:
        print(f"{TARGET.name} is not what the declarations say; run build/schema", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
