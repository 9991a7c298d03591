#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# First process of the engine's own network, mount and pid namespaces: when it ends, the kernel ends all the rest.
# usage: engine.sh SERVICE_NETWORK DOCKERD ARGUMENT...
set -e
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
# A Service that kube-proxy does not serve yet is refused at once; without this, clients wait out a 30 s timeout.
ip route add local "$1" dev lo
shift
"$@" &
trap 'kill -TERM $!' TERM
wait $! || wait $!
