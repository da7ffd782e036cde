"""pricing of harbor: GET /prices?item=tea looks up prices.json.

How this version behaves stands in version.json.
"""

import http.server
import json
import math
import os
import random
import signal
import sys
import threading
import time
import urllib.parse

DRAIN_LIMIT_S = 25
BODY_LIMIT = 64 * 1024

started = {"service": "pricing", "version": ""}
log_lock = threading.Lock()


def log(level, msg, **more):
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = json.dumps({"time": now, "level": level, "msg": msg, **started, **more})
    with log_lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def refuse(why, msg="cannot start"):
    log("ERROR", msg, error=why)
    sys.exit(1)


def read_json(name):
    try:
        with open(name, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as err:
        refuse(f"{name}: {err}")


how = {"work_ms": 0, "fail": 0, "status": 503, "error": "no free worker", "delay_ms": 0, "delay_share": 0, "empty": 0}
how.update(read_json("version.json"))
if not how.get("version"):
    refuse("version: must name the version")
started["version"] = how["version"]
known = read_json("prices.json")


class Failure(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Even:
    """Spreads what happens to a share of operations evenly over them; chance says with which it begins."""

    def __init__(self, share):
        self.share = share
        self.owed = random.random()
        self.lock = threading.Lock()

    def next(self):
        with self.lock:
            self.owed += self.share
            if self.owed < 1:
                return False
            self.owed -= 1
            return True


fails, empties = Even(how["fail"]), Even(how["empty"])


def took():
    """Draws the time of one operation in seconds: lognormal with sigma 0.5, cut at eight medians."""
    ms = how["work_ms"] * min(8, math.exp(random.gauss(0, 0.5)))
    if random.random() < how["delay_share"]:
        ms += how["delay_ms"]
    return ms / 1000


def operate(method, url):
    if method != "GET" or url.path != "/prices":
        raise Failure(404, "no such path")
    seconds = took()
    if seconds > 0:
        time.sleep(seconds)
    if fails.next():
        raise Failure(how["status"], how["error"])
    prices = {}
    for item in urllib.parse.parse_qs(url.query).get("item", []):
        if item not in known:
            raise Failure(404, f"no price for {item}")
        prices[item] = known[item]
    if empties.next():
        prices = {}
    return {"prices": prices}


class Flights:
    """Counts the operations under way and tells when the last one has landed."""

    def __init__(self):
        self.count = 0
        self.changed = threading.Condition()

    def __enter__(self):
        with self.changed:
            self.count += 1

    def __exit__(self, *_):
        with self.changed:
            self.count -= 1
            self.changed.notify_all()

    def landed(self, limit):
        with self.changed:
            return self.changed.wait_for(lambda: self.count == 0, limit)


flights = Flights()
draining = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024  # head and body leave in one packet

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        if not self.skip_body():
            return
        if url.path == "/healthz":
            self.answer(200, {"in_flight": flights.count})
            return
        with flights:
            began = time.monotonic()
            try:
                status, body = 200, operate(self.command, url)
            except Failure as err:
                status, body = err.status, {"error": str(err)}
            if status >= 500:
                body["cause"] = started
                ms = int((time.monotonic() - began) * 1000)
                log("ERROR", "request failed", method=self.command, path=url.path, status=status, error=body["error"], took_ms=ms)
            self.answer(status, body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = serve

    def skip_body(self):
        """Reads the body, so that the next request on this connection begins where it should."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit() or int(length) > BODY_LIMIT:
            self.close_connection = True
            self.answer(413, {"error": "body: must say its length, at most 64 KiB"})
            return False
        self.rfile.read(int(length))
        return True

    def answer(self, status, body):
        text = json.dumps({**body, **started}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if draining.is_set() or self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True  # an idle connection does not hold up the end; what is in flight does
    request_queue_size = 128

    def handle_error(self, request, client_address):
        err = sys.exc_info()[1]
        if not isinstance(err, ConnectionError):
            log("ERROR", "connection failed", error=str(err))


def main():
    port = os.environ.get("PORT", "")
    if not port.isdigit() or int(port) > 65535:
        refuse(f'PORT: must be a port from 0 to 65535, not "{port}"')
    try:
        server = Server(("127.0.0.1", int(port)), Handler)
    except OSError as err:
        refuse(str(err))
    signal.signal(signal.SIGTERM, lambda *_: draining.set())
    accepting = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    accepting.start()
    log("INFO", "listening", port=server.server_address[1])
    draining.wait()
    server.shutdown()
    server.socket.close()
    if not flights.landed(DRAIN_LIMIT_S):
        refuse(f"{flights.count} requests still in flight", "cannot drain")
    log("INFO", "drained")


main()
