# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Kubernetes kinds this collection writes: one table for paths, apply order, prune order and engineers' rights."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of object.

    Attributes:
        api: ``apiVersion``, for example ``apps/v1``.
        name: ``kind``, for example ``Deployment``.
        plural: resource name in URLs and RBAC rules.
        namespaced: whether objects live in a namespace.
        owned: whether an engineer's deployment may own objects of this kind. Such objects are sought by label,
            pruned when no longer wanted, and the engineer gets the right to write them.
        optional: few deployments own such objects.
    """

    api: str
    name: str
    plural: str
    namespaced: bool = True
    owned: bool = False
    optional: bool = False

    @property
    def common(self) -> bool:
        """Whether any owner may have such objects; the others are sought only of owners that want them or once had them."""
        return self.owned and not self.optional

    @property
    def group(self) -> str:
        """API group as RBAC rules spell it; empty for the core group."""
        return self.api.rpartition("/")[0]

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """URL path of the collection of objects, or of one object."""
        path = f"/apis/{self.api}" if self.group else f"/api/{self.api}"
        if self.namespaced and namespace:
            path += f"/namespaces/{namespace}"
        path += f"/{self.plural}"
        return f"{path}/{name}" if name else path


# In the order in which objects are applied; pruning goes the other way round. Of those that deployments own, the ConfigMap
# is the first, which records what optional kinds there are.
KINDS = (
    Kind("v1", "Namespace", "namespaces", namespaced=False),
    Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False),
    Kind("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", namespaced=False),
    Kind("v1", "ResourceQuota", "resourcequotas"),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", namespaced=False),
    Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", namespaced=False),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    Kind("v1", "ConfigMap", "configmaps", owned=True),
    Kind("v1", "Secret", "secrets", owned=True),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims", owned=True),
    Kind("v1", "Service", "services", owned=True),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", owned=True, optional=True),
    Kind("rbac.authorization.k8s.io/v1", "Role", "roles", owned=True, optional=True),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", owned=True, optional=True),
    Kind("networking.k8s.io/v1", "Ingress", "ingresses", owned=True, optional=True),
    Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", owned=True, optional=True),
    Kind("batch/v1", "Job", "jobs", owned=True),
    Kind("apps/v1", "DaemonSet", "daemonsets"),
    Kind("apps/v1", "StatefulSet", "statefulsets"),
    Kind("apps/v1", "Deployment", "deployments", owned=True),
    Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
    Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
)
# Read, never written.
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
STORAGE_CLASS = Kind("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False)
BY_NAME = {kind.name: kind for kind in KINDS}
OWNED = tuple(kind for kind in KINDS if kind.owned)


def engineer_rules() -> list[dict]:
    """RBAC rules of an engineer in their own namespace: write what a deployment owns, read what explains it."""
    write = ["get", "list", "watch", "create", "update", "patch", "delete"]
    read = ["get", "list", "watch"]
    groups: dict[str, list[str]] = {}
    for kind in OWNED:
        groups.setdefault(kind.group, []).append(kind.plural)
    rules = [{"apiGroups": [group], "resources": plurals, "verbs": write} for group, plurals in groups.items()]
    return rules + [
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "update", "patch"]},
        {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": read},
        {"apiGroups": [""], "resources": ["pods"], "verbs": [*read, "delete"]},
        {"apiGroups": [""], "resources": ["pods/log", "events", "resourcequotas"], "verbs": read},
        {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]},
    ]
