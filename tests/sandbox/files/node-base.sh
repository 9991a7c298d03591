#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs inside the node's root file system: what kind's images/base/Dockerfile does after its packages and files.
set -e
mkdir -p /opt/cni/bin /etc/cni/net.d /etc/kubernetes/manifests /kind/manifests
for plugin in host-local loopback ptp portmap; do ln -sf /usr/lib/cni/$plugin /opt/cni/bin/; done
rm -rf /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service \
	/lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* \
	/lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/basic.target.wants/* \
	/lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl* /etc/hostname
echo ReadKMsg=no >>/etc/systemd/journald.conf
ctr oci spec | jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
	>/etc/containerd/cri-base.json
# Debian's containerd; no privileges that a machine without CAP_SYS_RESOURCE lacks
sed -i 's#/usr/local/bin/containerd#/usr/bin/containerd#; /^OOMScoreAdjust/d; /^LimitN/d; /^LimitCORE/d' \
	/etc/systemd/system/containerd.service
sed -i 's#pause:3.10"#pause:3.10.1"#; s#restrict_oom_score_adj = false#restrict_oom_score_adj = true#' \
	/etc/containerd/config.toml
systemctl --quiet enable kubelet containerd undo-mount-hacks
systemctl --quiet mask systemd-binfmt systemd-udevd getty.target console-getty
