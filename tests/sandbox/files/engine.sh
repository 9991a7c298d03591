#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# First process of the engine's own network, mount and pid namespaces: when it ends, the kernel ends all the rest.
# usage: engine.sh DOCKERD ARGUMENT...
set -e
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
"$@" &
trap 'kill -TERM $!' TERM
wait $! || wait $!
