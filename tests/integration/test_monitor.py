import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import msgspec
import pytest

from monitor_kit import Node, keeper_pid, living_node, output, until
from skerry.containers.monitor import frames, protocol
from skerry.containers.monitors import CreateFailed, Exit, Monitor, keeper_command
from skerry.containers.spool import SpoolReader, holds, release_holds, spool_range, write_cursor
from skerry.core.errors import Conflict


@pytest.fixture
async def node():
    async with living_node() as node:
        yield node


async def run_to_end(node: Node, *command: str, **changes) -> Exit:
    monitor = await node.monitors.launch(node.job("c", *command, **changes))
    await monitor.create()
    await monitor.start()
    ended = await monitor.wait()
    await monitor.close()
    return ended


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143), ("kill -13 $$", 141)]
)
async def test_exit_code_is_the_status_or_128_plus_the_signal(node, script, code):
    before = time.time_ns()
    ended = await run_to_end(node, "sh", "-c", script)
    assert ended.code == code
    assert before < ended.time_ns < time.time_ns()
    assert await node.monitors.adopt(node.directory("c")) == ended


async def test_sigpipe_has_its_default_action(node):
    # A writer without a reader dies of the signal; were it ignored, yes would end with 1.
    ended = await run_to_end(node, "bash", "-c", "yes | true; exit ${PIPESTATUS[0]}")
    assert ended.code == 141


async def test_environment_is_clean_but_for_path(node, monkeypatch):
    await run_to_end(node, "env")
    names = {line.split(b"=")[0] for line in (await output(f"{node.run}/c/spool")).splitlines()}
    # The last is for the runtime, whose program lies on a read-only file system (runtime.PROTECTED); containers get what config.json says.
    assert names <= {b"PATH", b"PWD", b"_", b"SHLVL", b"OLDPWD", b"_LIBCONTAINER_CLONED_BINARY"}
    assert b"PATH" in names


async def test_no_descriptor_of_the_engine_reaches_the_process(node):
    await run_to_end(node, "ls", "/proc/self/fd")
    # 3 is the directory that ls reads.
    assert {int(fd) for fd in (await output(f"{node.run}/c/spool")).split()} == {0, 1, 2, 3}


async def test_all_output_is_in_the_spool_before_the_exit_is_told(node):
    monitor = await node.monitors.launch(node.job("c", "seq", "1", "200000"))
    await monitor.create()
    await monitor.start()
    await monitor.wait()
    span = await spool_range(f"{node.run}/c/spool")
    assert span.ended_run == 1
    await monitor.close()
    assert await output(f"{node.run}/c/spool") == b"".join(b"%d\n" % n for n in range(1, 200001))


async def test_stdout_and_stderr_keep_their_streams(node):
    await run_to_end(node, "sh", "-c", "echo out; echo err >&2")
    assert await output(f"{node.run}/c/spool", streams=(frames.STDOUT,)) == b"out\n"
    assert await output(f"{node.run}/c/spool", streams=(frames.STDERR,)) == b"err\n"


async def test_refused_create_tells_what_the_runtime_said_and_leaves_nothing(node):
    job = node.job("c", "true", create=["sh", "-c", "echo boom: no such thing >&2; exit 3"])
    monitor = await node.monitors.launch(job)
    with pytest.raises(CreateFailed) as caught:
        await monitor.create()
    assert (caught.value.text, caught.value.status) == ("boom: no such thing", 3)
    await monitor.close()
    await until(lambda: not os.path.exists(f"{job.directory}/monitor.sock"))
    assert await node.monitors.adopt(job.directory) is None
    assert await spool_range(job.spool) == (0, 0, 0)


@pytest.mark.parametrize("create", [["/no/such/runtime"], ["sh", "-c", "kill -9 $$"], ["true"]])
async def test_broken_runtime_is_a_refused_create(node, create):
    monitor = await node.monitors.launch(node.job("c", "true", create=create))
    with pytest.raises(CreateFailed) as caught:
        await monitor.create()
    assert caught.value.text
    await monitor.close()


async def test_refused_start_tells_what_the_runtime_said_and_the_process_is_still_owned(node):
    monitor = await node.monitors.launch(node.job("c", "true", start=["sh", "-c", "echo cannot start >&2; exit 5"]))
    pid = await monitor.create()
    with pytest.raises(CreateFailed) as caught:
        await monitor.start()
    assert (caught.value.text, caught.value.status) == ("cannot start", 5)
    os.kill(pid, signal.SIGKILL)
    assert (await monitor.wait()).code == 137
    await monitor.close()


async def test_process_that_ends_before_start_answered_was_started(node):
    job = node.job("c", "sh", "-c", "exit 4")
    job = msgspec.structs.replace(job, start=["sh", "-c", f"touch {job.directory}/go; sleep 0.3"])
    monitor = await node.monitors.launch(job)
    await monitor.create()
    await monitor.start()
    assert (await monitor.wait()).code == 4
    await monitor.close()


async def test_process_that_ends_before_create_answered_is_not_lost(node):
    # crun exec --detach: create does all, and the process may be gone before the runtime is.
    directory = node.directory("c")
    create = ["sh", "-c", f"(sh -c 'echo $$ > {directory}/pid; echo quick; exit 9' &) ; sleep 0.2"]
    monitor = await node.monitors.launch(node.job("c", create=create, start=[]))
    await monitor.create()
    await monitor.start()
    assert (await monitor.wait()).code == 9
    await monitor.close()
    assert await output(f"{directory}/spool") == b"quick\n"


async def test_process_that_its_runtime_buried_has_ended_with_an_unknown_status(node):
    directory = node.directory("c")
    create = ["sh", "-c", f"sh -c 'echo gone; exit 9' & echo $! > {directory}/pid; wait"]
    monitor = await node.monitors.launch(node.job("c", create=create, start=[]))
    await monitor.create()
    await monitor.start()
    assert (await monitor.wait()).code == 255
    await monitor.close()
    assert await output(f"{directory}/spool") == b"gone\n"


async def test_killed_before_start_is_an_exit_and_start_is_refused(node):
    monitor = await node.monitors.launch(node.job("c", "true"))
    os.kill(await monitor.create(), signal.SIGKILL)
    assert (await monitor.wait()).code == 137
    with pytest.raises(CreateFailed):
        await monitor.start()
    await monitor.close()


async def test_service_killed_between_create_and_start_goes_on_after_adopting(node):
    first = await node.monitors.launch(node.job("c", "sh", "-c", "exit 6"))
    pid = await first.create()
    await first.close()
    second = await node.monitors.adopt(node.directory("c"))
    assert isinstance(second, Monitor)
    assert (second.phase, second.pid, await second.create()) == (protocol.CREATED, pid, pid)
    await second.start()
    assert (await second.wait()).code == 6
    assert (await second.wait()).code == 6
    await second.close()


async def test_adopt_finds_a_running_process_beside_another_connection(node):
    first = await node.monitors.launch(node.job("c", "cat", stdin=True))
    await first.create()
    await first.start()
    second = await node.monitors.adopt(node.directory("c"))
    assert isinstance(second, Monitor)
    await first.write_stdin(b"one\n")
    await until(lambda: os.stat(f"{node.run}/c/spool/{frames.segment_name(0)}").st_size > 0)
    await second.write_stdin(b"two\n")
    await second.close_stdin()
    assert (await first.wait()).code == (await second.wait()).code == 0
    await first.close()
    await second.close()
    assert await output(f"{node.run}/c/spool") == b"one\ntwo\n"


async def test_stdin_of_many_bytes_arrives_whole_and_half_close_lets_output_go_on(node):
    data = os.urandom(3 << 20)
    monitor = await node.monitors.launch(node.job("c", "sh", "-c", "sleep 0.2; cat; echo; echo after", stdin=True))
    await monitor.create()
    await monitor.start()
    await monitor.write_stdin(data)
    await monitor.close_stdin()
    await monitor.close_stdin()
    await monitor.wait()
    await monitor.close()
    assert await output(f"{node.run}/c/spool") == data + b"\nafter\n"


async def test_stdin_nobody_reads_holds_the_writer_back_and_ends_with_the_process(node):
    monitor = await node.monitors.launch(node.job("c", "sleep", "60", stdin=True))
    pid = await monitor.create()
    await monitor.start()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await monitor.write_stdin(b"x" * (1 << 20))
    # Control goes past the waiting bytes.
    await monitor.resize(1, 1)
    os.kill(pid, signal.SIGKILL)
    await monitor.wait()
    await monitor.write_stdin(b"x" * (1 << 20))
    await monitor.close()


async def test_terminal_echoes_takes_its_size_and_ends_at_control_d(node):
    job = node.job("c", "sh", "-c", "stty size; cat; stty size; exit 3", tty=True, stdin=True, rows=40, columns=123)
    monitor = await node.monitors.launch(job)
    await monitor.create()
    await monitor.start()
    seen = bytearray()
    async with SpoolReader(job.spool, 0) as reader:
        async for batch in reader.batches(until_run=1):
            seen += b"".join(bytes(frame.payload) for frame in batch.frames() if frame.stream == frames.STDOUT)
            if seen == b"40 123\r\n":
                await monitor.write_stdin(b"hello\n")
            elif seen.endswith(b"hello\r\nhello\r\n"):
                await monitor.resize(50, 99)
                await monitor.write_stdin(b"\x04")
    assert seen == b"40 123\r\nhello\r\nhello\r\n50 99\r\n"
    assert (await monitor.wait()).code == 3
    await monitor.close()


async def test_two_runs_follow_each_other_in_one_spool(node):
    for run in (1, 2, 3):
        assert (await run_to_end(node, "sh", "-c", f"echo run {run}; exit {run}", run=run)).run == run
    spool = f"{node.run}/c/spool"
    assert await output(spool, run=1) == b"run 1\n"
    assert await output(spool, run=3) == b"run 1\nrun 2\nrun 3\n"
    assert (await spool_range(spool)).ended_run == 3


async def test_second_launch_beside_a_living_process_is_a_conflict_and_changes_nothing(node):
    monitor = await node.monitors.launch(node.job("c", "sleep", "60"))
    pid = await monitor.create()
    with pytest.raises(Conflict):
        await node.monitors.launch(node.job("c", "true", run=2))
    os.kill(pid, signal.SIGKILL)
    assert (await monitor.wait()).run == 1
    await monitor.close()


async def test_output_held_open_by_others_is_waited_for_no_longer_than_told(node):
    before = time.monotonic()
    ended = await run_to_end(node, "sh", "-c", "echo last; sleep 30 & exit 0", drain_seconds=0.3)
    assert time.monotonic() - before < 5
    assert ended.code == 0
    assert await output(f"{node.run}/c/spool") == b"last\n"


async def test_killing_the_keeper_harms_no_container_and_a_new_one_takes_its_place(node):
    monitor = await node.monitors.launch(node.job("c", "sh", "-c", "echo a; cat; exit 8", stdin=True))
    await monitor.create()
    await monitor.start()
    old = keeper_pid(node.run)
    os.kill(old, signal.SIGKILL)
    await until(lambda: keeper_pid(node.run) == 0)
    other = await node.monitors.launch(node.job("d", "true"))  # starts a keeper
    assert keeper_pid(node.run) not in (0, old)
    await other.create()
    await other.start()
    assert (await other.wait()).code == 0
    await other.close()
    await monitor.write_stdin(b"b\n")
    await monitor.close_stdin()
    assert (await monitor.wait()).code == 8
    await monitor.close()
    assert await output(f"{node.run}/c/spool") == b"a\nb\n"


async def test_second_keeper_refuses_beside_a_living_one(node):
    result = await asyncio.to_thread(subprocess.run, keeper_command(node.run, mounts="host"), capture_output=True, timeout=20)
    assert result.returncode == 3
    assert keeper_pid(node.run)


async def test_keeper_started_as_a_module_ends_at_sigterm(tmp_path):
    run = f"{tmp_path}/r"
    argv = [sys.executable, "-m", "skerry.containers.monitor.keeper", "--run", run, "--mounts", "host"]
    environment = {"PYTHONPATH": os.path.abspath("services"), "PATH": os.environ["PATH"]}
    process = subprocess.Popen(argv, env=environment)
    try:
        await until(lambda: keeper_pid(run) == process.pid)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        process.kill()


@pytest.mark.parametrize(
    "request_", [b"{", b"[]", b"{}", b'{"directory": 3}', b'{"directory": "x"}', b'{"directory": "/no/such"}', b"\xff" * 4000]
)
async def test_bad_request_gets_an_error_and_the_keeper_lives(node, request_):
    pid = keeper_pid(node.run)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(5)
        client.connect(f"{node.run}/keeper.sock")
        client.send(request_)
        assert "error" in msgspec.json.decode(client.recv(4096))
    assert keeper_pid(node.run) == pid


async def test_nonsense_on_the_control_socket_cuts_off_only_its_sender(node):
    monitor = await node.monitors.launch(node.job("c", "cat", stdin=True))
    await monitor.create()
    await monitor.start()
    for nonsense in (b"{", b"{}", b"[1]", b'{"op":"resize"}', b'{"op":"resize","rows":"x","columns":1}', b"I" + b"x" * 4):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(f"{node.run}/c/monitor.sock")
            client.settimeout(5)
            client.recv(4096)  # its state
            client.send(nonsense)
    await monitor.close_stdin()
    assert (await monitor.wait()).code == 0
    await monitor.close()
    assert await output(f"{node.run}/c/spool") == b"xxxx"


async def test_readers_killed_again_and_again_see_each_line_once(node):
    count = 400_000
    job = node.job("c", "seq", "1", str(count), segment=1 << 18)
    os.mkdir(job.spool)
    write_cursor(f"{job.spool}/cursor.test", 0)
    monitor = await node.monitors.launch(job)
    await monitor.create()
    await monitor.start()
    # The reader commits its offset with its output, as a durable reader does; it is killed every few milliseconds.
    script = f"""
import asyncio, os, time
from skerry.containers.spool import SpoolReader, write_cursor
async def main():
    state = os.open({node.run + "/out"!r}, os.O_RDWR | os.O_CREAT)
    where = os.pread(state, 16, 0)
    offset, size = (int.from_bytes(where[:8], "big"), int.from_bytes(where[8:], "big")) if where else (0, 16)
    async with SpoolReader({node.run + "/c/spool"!r}, offset) as reader:
        async for batch in reader.batches(until_run=1, limit=65536):
            data = b"".join(bytes(f.payload) for f in batch.frames() if f.stream == 1)
            os.pwrite(state, data, size)
            size += len(data)
            os.pwrite(state, batch.end.to_bytes(8, "big") + size.to_bytes(8, "big"), 0)
            write_cursor({job.spool + "/cursor.test"!r}, batch.end)
            time.sleep(0.02)
asyncio.run(main())
"""
    environment = {"PYTHONPATH": os.path.abspath("services"), "PATH": os.environ["PATH"]}
    kills = 0
    for pause in (0.25, 0.3, 0.3, 0.35, 30.0):
        reader = subprocess.Popen([sys.executable, "-c", script], env=environment)
        try:
            await asyncio.to_thread(reader.wait, pause)
            break
        except subprocess.TimeoutExpired:
            reader.kill()
            kills += 1
            await asyncio.to_thread(reader.wait)
    assert kills
    await monitor.wait()
    await monitor.close()
    with open(f"{node.run}/out", "rb") as file:
        data = file.read()[16:]
    assert data == b"".join(b"%d\n" % n for n in range(1, count + 1))


async def test_monitor_keeper_and_process_killed_leave_a_readable_spool_that_the_next_run_continues(node):
    monitor = await node.monitors.launch(node.job("c", "yes", "0123456789" * 9))
    container = await monitor.create()
    await monitor.start()
    spool = f"{node.run}/c/spool"
    await until(lambda: os.path.exists(spool) and sum(os.stat(f"{spool}/{name}").st_size for name in os.listdir(spool)) > 4 << 20)
    with open(f"/proc/{container}/stat") as file:
        pid = int(file.read().rsplit(")", 1)[1].split()[1])
    keeper = keeper_pid(node.run)
    assert pid != keeper
    os.kill(keeper, signal.SIGSTOP)
    for each in (pid, keeper, container):
        os.kill(each, signal.SIGKILL)
    await until(lambda: not os.path.exists(f"/proc/{container}/exe"))
    await monitor.close()
    assert await node.monitors.adopt(node.directory("c")) is None
    before = (await spool_range(spool)).end
    assert before > 3 << 20
    assert (await run_to_end(node, "echo", "next", run=2)).code == 0
    sequences = []
    text = bytearray()
    async with SpoolReader(spool, 0) as reader:
        async for batch in reader.batches(until_run=2):
            for frame in batch.frames():
                sequences.append(frame.sequence)
                text += frame.payload if frame.stream == frames.STDOUT else b""
    assert sequences == list(range(len(sequences)))
    assert text.endswith(b"next\n")
    assert text.count(b"next") == 1
    release_holds(spool, holds(spool))
