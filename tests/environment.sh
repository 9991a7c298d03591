#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes a virtual environment with one end of the supported range of ansible-core, and this collection on its path.
# usage: environment.sh oldest|newest DIRECTORY
set -eu
cd "$(dirname "$0")/.."
end=$1 venv=$2
pins=tests/requirements/$end.txt

case $end in
oldest) wanted="3.11 3.12 3.13" ;;
newest) wanted="3.13 3.12 3.14" ;;
esac

# By name and where pyenv keeps them: its shims exist for versions that they cannot run.
python=
for version in $wanted; do
	for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python python3; do
		found=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
		if [ "$found" = "$version" ]; then python=$candidate && break 2; fi
	done
done
if [ -z "$python" ]; then
	echo "No Python of the versions $wanted is on this machine, which $pins needs: install one of them." >&2
	exit 3
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then # Debian has it in a package of its own
	if [ "$(id -u)" != 0 ]; then
		echo "$python has no venv module: install the package python3-venv." >&2
		exit 3
	fi
	echo "installing python3-venv"
	{ apt-get -q update && apt-get -q -y install python3-venv; } >/dev/null
fi

echo "making $venv: $("$python" --version), ansible-core $(sed -n 's/^ansible-core==//p' "$pins")"
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check "$(grep '^uv==' "$pins")"
"$venv/bin/uv" pip install -q --no-python-downloads --python "$venv/bin/python" -r "$pins"
mkdir -p "$venv/collections/ansible_collections/selfhosted"
ln -s "$PWD" "$venv/collections/ansible_collections/selfhosted/llm"
cp "$pins" "$venv/pins.txt" # the mark of completeness that make looks at
