#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs the browser that tests/browser needs, where it is missing: Debian's package, which brings fonts along.
set -eu
if command -v chromium >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ]; then
	echo "There is no chromium here: install Debian's package chromium." >&2
	exit 3
fi
echo "installing chromium"
{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends chromium; } >/dev/null
