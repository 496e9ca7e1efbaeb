"""Like fake_runtime.sh, on a terminal that it sends to DIR/console.sock: python3 fake_terminal_runtime.py DIR COMMAND..."""

import array
import os
import pty
import socket
import sys
import time

directory, *command = sys.argv[1:]
master, slave = pty.openpty()
pid = os.fork()
if pid == 0:
    os.setsid()
    os.login_tty(slave)
    os.close(master)
    while not os.path.exists(f"{directory}/go"):
        time.sleep(0.005)
    os.execvp(command[0], command)
with socket.socket(socket.AF_UNIX) as console:
    console.connect(f"{directory}/console.sock")
    console.sendmsg([b"pty"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))])
with open(f"{directory}/pid", "w") as file:
    file.write(str(pid))
