"""What scripts do with docker's Python library, against the daemon that DOCKER_HOST names."""

import docker

client = docker.from_env()
assert client.ping()
assert client.version()["ApiVersion"].startswith("1.")
assert client.info()["OSType"] == "linux"
assert [tag for image in client.images.list() for tag in image.tags] == ["busybox:latest"]

assert client.containers.run("busybox", ["echo", "hello"], remove=True, network_mode="none") == b"hello\n"
try:
    client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 5"], remove=True, network_mode="none")
    raise AssertionError("exit code 5 was not reported")
except docker.errors.ContainerError as error:
    assert error.exit_status == 5, error

container = client.containers.run(
    "busybox",
    ["sh", "-c", "echo ready; cat"],
    name="c1",
    detach=True,
    stdin_open=True,
    environment={"A": "b c"},
    labels={"made-by": "docker-py"},
    mem_limit="64m",
    network_mode="none",
)
container.reload()
assert container.status == "running", container.status
assert container.labels["made-by"] == "docker-py"
assert container.attrs["HostConfig"]["Memory"] == 64 << 20
assert [c.name for c in client.containers.list(filters={"label": "made-by"})] == ["c1"]

code, output = container.exec_run(["sh", "-c", "echo $A; exit 4"])
assert (code, output) == (4, b"b c\n"), (code, output)
code, (out, err) = container.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
assert (code, out, err) == (0, b"out\n", b"err\n")

for line in container.logs(stream=True, follow=True):
    assert line == b"ready\n", line
    break

socket = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
socket._sock.sendall(b"typed\n")
header = socket.read(8)
assert header[0] == 1 and socket.read(int.from_bytes(header[4:], "big")) == b"typed\n"
socket.close()

container.stop(timeout=0)
assert container.wait()["StatusCode"] == 137
container.reload()
assert container.attrs["State"]["Status"] == "exited"
container.start()
container.restart(timeout=0)
container.kill()
container.remove(force=True)
try:
    client.containers.get("c1")
    raise AssertionError("the removed container is still there")
except docker.errors.NotFound:
    pass
print("all good")
