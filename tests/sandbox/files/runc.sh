#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# runc without CAP_SYS_RESOURCE: `docker run --privileged` asks for every capability, and runc refuses what the machine
# itself lacks ("unable to apply caps: operation not permitted"). Used only where the capability is missing.
previous=
for argument; do
	case $previous in
	--bundle | -b) spec=$argument/config.json ;;
	--process | -p) spec=$argument ;;
	*) spec= ;;
	esac
	[ -n "$spec" ] && [ -f "$spec" ] && sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$spec"
	previous=$argument
done
exec runc "$@"
