#!/usr/bin/env python3
"""The newsroom's weather API: answers /weather on loopback with weather.json as it is at that moment.

    python3 api.py [PORT]      (8099 unless given)
"""

import pathlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WEATHER = pathlib.Path(__file__).parent / "weather.json"


class Weather(BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == "/weather"
        body = WEATHER.read_bytes() if found else b"{}"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8099
    server = ThreadingHTTPServer(("127.0.0.1", port), Weather)
    print(f"weather at http://127.0.0.1:{server.server_port}/weather", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
