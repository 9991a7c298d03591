# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.connect; its documentation is in plugins/modules/connect.py."""

from __future__ import annotations

import os
import shlex
import socket
import threading
import time

from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.files import write_private
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.running import Running
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import DEPLOYMENT, ClusterAction


class ActionModule(ClusterAction):
    """Forward a local port to a deployment and write the file that an OpenAI client needs, until interrupted."""

    argument_spec = DEPLOYMENT | {
        "local_port": {"type": "int", "default": 0},
        "dest": {"type": "path", "required": True},
        "seconds": {"type": "int"},
    }

    def execute(self, args: dict, host: str) -> dict:
        file = os.path.expanduser(args["dest"])
        if self._task.check_mode:
            Display().display(f"  {host}: would write {file} and forward a port to it.")
            return {"changed": False}
        with self.cluster(args) as kube:
            running = Running(kube, args["namespace"], args["instance"])  # a sentence now rather than a refused connection later
            try:
                listener = socket.create_server(("127.0.0.1", args["local_port"]))
            except OSError as error:
                raise UserError(f"{host}: port {args['local_port']} on this machine cannot be used: {error.strerror}.") from None
            port = listener.getsockname()[1]
            values = {
                "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
                "OPENAI_API_KEY": running.key or "none",  # clients insist on one
                "OPENAI_MODEL": args["instance"],
            }
            write_private(file, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items()))
            Display().display(f"  {host}: serving at http://127.0.0.1:{port}/v1 until Ctrl-C; the environment is in {file}.")
            with listener:
                _serve(listener, kube, args)
        return {"changed": False}


def _serve(listener: socket.socket, kube: Kube, args: dict) -> None:
    end = time.monotonic() + args["seconds"] if args["seconds"] else None
    listener.settimeout(1)
    while end is None or time.monotonic() < end:
        try:
            client, _address = listener.accept()
        except TimeoutError:
            continue
        except KeyboardInterrupt:
            return
        threading.Thread(target=_forward, args=(client, kube, args), daemon=True).start()


def _forward(client: socket.socket, kube: Kube, args: dict) -> None:
    """Join one local connection with a pod; a connection of its own to the cluster, as it runs in a thread."""
    try:
        pod = Running(Kube(kube.kubeconfig, kube.context), args["namespace"], args["instance"]).connect()
    except UserError as error:
        Display().warning(str(error))
        client.close()
        return
    threading.Thread(target=_pump, args=(client, pod), daemon=True).start()
    _pump(pod, client)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass  # one side went away, which ends the connection for the other
    finally:
        for side in (source, sink):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
