"""The configuration of nginx in front of servers: balancing, streaming, time-outs, and nothing reached but the API."""

from collections.abc import Sequence

Block = list[tuple[str, "str | Block"]]
"""Directives in order: a name with its arguments, or with the block that it opens."""

LISTEN = 8080
"""Port inside the container; below 1024 it would need privileges."""
BODY = "8m"
"""Largest request: the text of a context of a million tokens."""
READ_SECONDS = 600
"""Longest silence of a server: a long prompt, before its first token."""


def nginx_conf(servers: Sequence[str], drain: int) -> str:
    """`nginx.conf` for servers that answer at `HOST:PORT`.

    Args:
        servers: addresses, at least one.
        drain: seconds that answers may take to end when nginx is asked to stop.
    """
    comment = "# Balances over the servers and lets tokens through as they come.\n"
    return comment + _text(_main(servers, drain), "")


def _main(servers: Sequence[str], drain: int) -> Block:
    return [
        ("worker_processes", "auto"),
        ("worker_shutdown_timeout", f"{drain}s"),
        ("pid", "/tmp/nginx.pid"),
        ("error_log", "stderr warn"),
        ("events", [("worker_connections", "4096")]),
        (
            "http",
            [
                *((f"{kind}_temp_path", f"/tmp/{kind}") for kind in _TEMPORARY),
                ("access_log", "/dev/stdout"),
                ("server_tokens", "off"),
                ("client_max_body_size", BODY),
                ("client_body_timeout", "60s"),
                ("keepalive_timeout", "75s"),
                ("upstream models", _upstream(servers)),
                ("server", _server()),
            ],
        ),
    ]


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _upstream(servers: Sequence[str]) -> Block:
    """Requests last from milliseconds to minutes: the server with the fewest of them is next."""
    return [
        ("least_conn", ""),
        *(("server", f"{server} max_fails=3 fail_timeout=10s") for server in servers),
        ("keepalive", "64"),
    ]


def _server() -> Block:
    return [
        ("listen", str(LISTEN)),
        ("location = /health", [("access_log", "off"), ("proxy_pass", "http://models"), *_PROXY]),
        ("location /v1/", [("proxy_pass", "http://models"), *_PROXY]),
        ("location /", [("return", "404")]),
    ]


_PROXY: Block = [
    ("proxy_http_version", "1.1"),
    ("proxy_set_header", 'Connection ""'),
    ("proxy_set_header", "Host $host"),
    ("proxy_set_header", "X-Forwarded-For $proxy_add_x_forwarded_for"),
    ("proxy_set_header", "X-Forwarded-Proto $scheme"),
    ("proxy_buffering", "off"),
    ("proxy_cache", "off"),
    ("proxy_connect_timeout", "5s"),
    ("proxy_send_timeout", "60s"),
    ("proxy_read_timeout", f"{READ_SECONDS}s"),
    ("proxy_next_upstream", "error timeout http_503"),
    ("proxy_next_upstream_tries", "2"),
]


def _text(block: Block, indent: str) -> str:
    lines = []
    for name, content in block:
        if isinstance(content, str):
            lines.append(f"{indent}{name}{' ' if content else ''}{content};\n")
        else:
            lines.append(f"{indent}{name} {{\n{_text(content, indent + '  ')}{indent}}}\n")
    return "".join(lines)
