"""What the benchmarks share: the option `--json FILE`, the records written there, and what was asked beside them.

A missed figure is printed and recorded as missed; the benchmark still ends with exit code 0.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from hepatojax.checks.records import Record, write_json


def run(main: Callable[[list[str]], list[Record]]) -> None:
    """Call a benchmark with its arguments and write the records that it returns, if a file is named."""
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("arguments", nargs="*", help="as in the first lines above")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records to a file")
    options = parser.parse_args()
    if options.json and not options.json.resolve().parent.is_dir():
        parser.error(f"--json {options.json}: there is no such folder")
    start = time.monotonic()
    records = main(options.arguments)
    seconds = time.monotonic() - start
    if options.json:
        write_json((replace(record, seconds=record.seconds or seconds) for record in records), options.json)


def read(path: Path) -> list[Record]:
    """The records of a file; a value that was not finite comes back as NaN."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Record(**{**row, "value": float("nan") if row["value"] is None else row["value"]}) for row in rows]


def verdict(record: Record) -> str:
    """Whether what is asked was met; empty where nothing is asked."""
    if record.accept == "reported":
        return ""
    return f"asked {record.accept}: {'met' if record.passed else 'missed'}"


def told(records: Iterable[Record]) -> list[Record]:
    """Print records, one line each with what is asked, and give them back."""
    records = list(records)
    for record in records:
        asked = verdict(record)
        print(f"  {record.quantity}: {record.value:.4g} {record.unit}{', ' if asked else ''}{asked}", flush=True)
    return records
