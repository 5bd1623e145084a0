"""A client of tuspy: uploads one file, and prints the bytes that the device has confirmed."""

from __future__ import annotations

import sys

from tusclient.client import TusClient

file, endpoint, token, name = sys.argv[1:]
client = TusClient(endpoint, headers={"Authorization": f"Bearer {token}"})
uploader = client.uploader(
    file, chunk_size=4 << 20, metadata={"filename": name}, retries=120, retry_delay=0.25
)
while uploader.offset < uploader.get_file_size():
    uploader.upload_chunk()
    print(uploader.offset, flush=True)
