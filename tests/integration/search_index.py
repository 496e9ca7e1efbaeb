"""An index to search."""

import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit


class Index(BaseHTTPRequestHandler):
    """Stands in for the Hub's search API, which no test can reach: the documented fields of /v1/search."""

    seen: list[tuple[str, str]] = []

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        query = parse_qs(urlsplit(self.path).query)
        rows = [
            {"name": "busybox", "description": "Busybox base image.", "star_count": 3000, "is_official": True, "is_automated": False},
            {"name": "me/busybox", "description": None, "star_count": 7, "is_official": False, "is_automated": True},
            {"name": "you/busybox", "star_count": None, "is_official": False, "is_automated": False},
        ]
        status, document = 200, {"num_results": len(rows), "query": query.get("q", [""])[0], "results": rows}
        if "broken" in query.get("q", []):
            status = 500
        body = b"{" if "garbage" in query.get("q", []) else json.dumps(document).encode()
        self.send_response(404 if self.path.startswith("/v1/_ping") else status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
