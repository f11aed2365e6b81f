"""S3 as moto has it, on loopback: code that is not ours. Says `port N`, makes the bucket, and ends with its input."""

import sys
import urllib.request

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
_, port = server.get_host_and_port()
bucket = f"http://127.0.0.1:{port}/{sys.argv[1]}"
urllib.request.urlopen(urllib.request.Request(bucket, method="PUT"), timeout=60).close()
print("port", port, flush=True)
sys.stdin.read()
server.stop()
