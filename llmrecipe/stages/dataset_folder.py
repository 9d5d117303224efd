"""Arrow tables -> a folder that `datasets.load_from_disk` opens, without importing `datasets`."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
from pydantic import JsonValue

DATA = "data-00000-of-00001.arrow"


class DatasetWriter:
    """Writes tables of one schema as one dataset. Without a table there is no folder."""

    def __init__(self, folder: Path) -> None:
        self.rows = 0
        self._folder = folder
        self._stream: pa.RecordBatchStreamWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if self._stream is None:
            self._folder.mkdir(parents=True)
            self._stream = pa.ipc.new_stream(str(self._folder / DATA), table.schema)
        self._stream.write_table(table)
        self.rows += table.num_rows

    def close(self) -> None:
        """Complete the dataset."""
        if self._stream is None:
            return
        self._stream.close()
        with (self._folder / DATA).open("rb") as file:
            fingerprint = hashlib.file_digest(file, "blake2b").hexdigest()[:16]
        state: dict[str, JsonValue] = {
            "_data_files": [{"filename": DATA}],
            "_fingerprint": fingerprint,
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
        (self._folder / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
        (self._folder / "dataset_info.json").write_text("{}", encoding="utf-8")
