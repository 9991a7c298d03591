# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Kubernetes cluster with GPU stand-ins on a bare Debian machine; see README.md."""
