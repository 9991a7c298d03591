#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds the collection as users install it, and runs ansible-test's sanity tests on that with the ansible-core of one
# virtual environment. usage: sanity.sh VENV
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$PWD/$1
PATH=$venv/bin:$PATH

rm -rf "$venv/sanity"
copy=$venv/sanity/ansible_collections/selfhosted/llm
mkdir -p "$copy"
ansible-galaxy collection build --output-path "$venv/sanity" >/dev/null
tar -xzf "$venv"/sanity/*.tar.gz -C "$copy"

# It bootstraps pip with a script from a host that not every machine reaches; Python brings pip along just as well.
pip=$(sed -n "s/^ *pip='\(.*\)',$/\1/p" "$venv"/lib/python3.*/site-packages/ansible_test/_internal/python_requirements.py)
script=$HOME/.ansible/test/cache/get_pip_$(echo "$pip" | tr . _).py
if [ ! -e "$script" ]; then
	mkdir -p "$(dirname "$script")"
	cat >"$script" <<-'PYTHON'
		import subprocess, sys
		packages = [word for word in sys.argv[1:] if not word.startswith("--no-")]
		subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
		subprocess.run([sys.executable, "-m", "pip", "install", "-q", *packages], check=True)
	PYTHON
fi

cd "$copy"
# Without a repository of its own it would look at the one around, which ignores this copy, and at its own output.
git init -q . && echo /tests/output >.git/info/exclude && git add -A
exec ansible-test sanity --venv --python "$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" --color no
