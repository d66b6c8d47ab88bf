"""Records of an event file as TensorBoard's own writer makes them, for tests/metrics_log_test.cpp.

Writes event_file.json beside itself: pip install tensorboard.
"""

import io
import json
import pathlib

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

SCALARS = [
    (1700000000.25, 1, [("epoch/loss", 0.125)]),
    (1700000001.5, 300, [("epoch/loss", 0.01), ("epoch/psnr", 41.5), ("x" * 200, -3e-30)]),
    (1700000002.0, 123456789012345, [("reconstruction/psnr", float("inf"))]),
]


def record(event: Event) -> str:
    file = io.BytesIO()
    RecordWriter(file).write(event.SerializeToString())
    return file.getvalue().hex()


def main() -> None:
    version = Event(wall_time=1700000000.25, file_version="brain.Event:2")
    records = []
    for time, step, scalars in SCALARS:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars]
        event = Event(wall_time=time, step=step, summary=Summary(value=values))
        records.append(
            {
                "time": time,
                "step": step,
                "scalars": [[tag, str(value)] for tag, value in scalars],
                "record": record(event),
            }
        )
    golden = {"version_time": 1700000000.25, "version": record(version), "scalars": records}
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
