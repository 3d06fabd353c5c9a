"""Downloads from a real server on this machine: ranges, broken connections, wrong bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import sleep

import pytest

from diffteach.data import fetch as module
from diffteach.data.fetch import FILES, File, fetch, folder, set_of
from diffteach.data.names import task

CONTENT = bytes(range(256)) * 2_000  # 512 kB
NAME = "pen-human-v1"
FILE = "pen-human-v1.hdf5"


class Server:
    """What is served by path, how much of it before the line is cut, and what was asked for."""

    def __init__(self) -> None:
        self.files = {f"/offline_rl/hand_dapg_v1/{FILE}": CONTENT}
        self.cuts: list[int] = []  # bytes that the next answers send before they break off
        self.stalls: list[float] = []  # seconds that the next answers keep silent at their end
        self.ranges = True
        self.length = True
        self.asked: list[tuple[str, str | None]] = []
        self.pause = 0.0
        self.address = ""


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # the connection closes behind every answer

        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            server.asked.append((self.path, wanted))
            sleep(server.pause)
            content = server.files.get(self.path)
            if content is None:
                return self.send_error(404)
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            if not server.ranges:
                start = 0
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if server.length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            sent = server.cuts.pop(0) if server.cuts else len(content)
            self.wfile.write(content[start : start + sent])
            sleep(server.stalls.pop(0) if server.stalls else 0)

        def log_message(self, *_: object) -> None: ...

    return Handler


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(state)) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.address = f"http://127.0.0.1:{http.server_port}/offline_rl/{{path}}"
        monkeypatch.setattr(module, "MIRRORS", (state.address,))
        digest = hashlib.sha256(CONTENT).hexdigest()
        file = File(FILES[NAME].path, len(CONTENT), digest)
        monkeypatch.setattr(module, "FILES", {**FILES, NAME: file})
        yield state
        http.shutdown()
        thread.join()


def forget(monkeypatch, size: bool = True, digest: bool = True) -> None:
    """As if nobody had published the size or the sum of the file."""
    file = module.FILES[NAME]
    kept = File(file.path, None if size else file.size, None if digest else file.sha256)
    monkeypatch.setattr(module, "FILES", {NAME: kept})


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "not" / "there"
    path = fetch(NAME, root=root)
    assert path == root / FILE
    assert path.read_bytes() == CONTENT
    assert left(root) == [FILE]
    assert fetch(NAME, root=root) == path
    assert server.asked == [(f"/offline_rl/hand_dapg_v1/{FILE}", None)]


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(
    server: Server, tmp_path: Path
) -> None:
    server.cuts = [100_000, 50_000]
    assert fetch(NAME, root=tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert left(tmp_path) == [FILE]


def test_a_connection_that_stalls_is_given_up_and_taken_up(
    server: Server, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    monkeypatch.setattr(module, "PIECE", 1_000)
    server.cuts, server.stalls = [100_000], [1.0]
    assert fetch(NAME, root=tmp_path).read_bytes() == CONTENT
    assert server.asked[1][1] == "bytes=100000-"


def test_a_later_try_takes_up_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 0]
    with pytest.raises(ConnectionError, match=r"broke off .*100,000 bytes of it are kept"):
        fetch(NAME, root=tmp_path)
    assert left(tmp_path) == [f"{FILE}.part"]
    assert fetch(NAME, root=tmp_path).read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=100000-"
    assert left(tmp_path) == [FILE]


def test_a_download_that_was_whole_but_not_renamed_asks_for_nothing(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(CONTENT)
    assert fetch(NAME, root=tmp_path).read_bytes() == CONTENT
    assert server.asked == []


def test_a_wrong_beginning_is_thrown_away_and_all_is_fetched(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(b"wrong" * 1_000)
    assert fetch(NAME, root=tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == ["bytes=5000-", None]


def test_a_beginning_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(CONTENT + b"more")
    assert fetch(NAME, root=tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / f"{FILE}.part").write_bytes(CONTENT[:1_000])
    assert fetch(NAME, root=tmp_path).read_bytes() == CONTENT


def test_the_next_mirror_is_asked_when_one_has_nothing(server: Server, tmp_path: Path) -> None:
    mirrors = [server.address.replace("{path}", "{file}"), server.address]
    assert fetch(NAME, mirrors=mirrors, root=tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == [
        f"/offline_rl/{FILE}",
        f"/offline_rl/hand_dapg_v1/{FILE}",
    ]


def test_another_file_is_never_kept(server: Server, tmp_path: Path) -> None:
    other = bytes([1]) + CONTENT[1:]
    server.files = {f"/offline_rl/{FILE}": other}
    flat = server.address.replace("{path}", "{file}")
    with pytest.raises(ConnectionError, match="sha256 differs, and nothing was kept"):
        fetch(NAME, mirrors=[flat], root=tmp_path)
    assert left(tmp_path) == []
    server.files[f"/offline_rl/hand_dapg_v1/{FILE}"] = CONTENT
    assert fetch(NAME, mirrors=[flat, server.address], root=tmp_path).read_bytes() == CONTENT


def test_a_file_of_another_size_is_not_even_downloaded(server: Server, tmp_path: Path) -> None:
    server.files = {path: content[:-1] for path, content in server.files.items()}
    with pytest.raises(ConnectionError, match=r"it has 511,999 bytes instead of 512,000"):
        fetch(NAME, root=tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
def test_what_nobody_published_is_taken_as_it_comes(
    length, server: Server, tmp_path: Path, monkeypatch
) -> None:
    forget(monkeypatch)
    server.length = length
    server.cuts = [100_000] if length else []
    assert fetch(NAME, root=tmp_path).read_bytes() == CONTENT


def test_a_server_that_hides_the_length_is_held_to_the_published_one(
    server: Server, tmp_path: Path
) -> None:
    server.length = False
    server.cuts = [100_000]
    assert fetch(NAME, root=tmp_path).read_bytes() == CONTENT


def test_mirrors_and_folder_may_come_from_the_environment(
    server: Server, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(module, "MIRRORS", ())
    monkeypatch.setenv("DIFFTEACH_D4RL_MIRRORS", f"http://127.0.0.1:9/{{path}} {server.address}")
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    assert fetch(NAME) == tmp_path / FILE
    monkeypatch.delenv("D4RL_DATASET_DIR")
    assert folder() == Path.home() / ".d4rl" / "datasets"
    assert folder("here") == Path("here")


def test_two_at_once_download_it_once(server: Server, tmp_path: Path) -> None:
    server.pause = 0.2
    with ThreadPoolExecutor(3) as pool:
        paths = [pool.submit(fetch, NAME, root=tmp_path) for _ in range(3)]
    assert [path.result().read_bytes() == CONTENT for path in paths] == [True] * 3
    assert len(server.asked) == 1
    assert left(tmp_path) == [FILE]


def test_the_table_names_a_file_for_every_set() -> None:
    assert len(FILES) == 71
    assert FILES["hopper-medium-v2"] == File(
        "gym_mujoco_v2/hopper_medium-v2.hdf5",
        152_756_557,
        "5bdf1bc4a713c82941de44633df669b36c89850b652a25985166796d25cf71a0",
    )
    assert FILES["antmaze-medium-play-v2"].sha256 is None
    families = {task(name).family for name in FILES}
    assert families == {"locomotion", "antmaze", "maze2d", "adroit", "kitchen"}
    for name, file in FILES.items():
        assert set_of(Path("anywhere") / file.name) == name
        assert (file.size is None) == (file.sha256 is None)
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
    sums = [file.sha256 for file in FILES.values() if file.sha256]
    assert len(sums) == len(set(sums)) == 53
    assert set_of(Path("own-recordings.hdf5")) == "own-recordings"
