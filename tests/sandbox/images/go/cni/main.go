// SPDX-License-Identifier: GPL-3.0-or-later

// cni stands in for kindnetd (pod network only): it writes a CNI configuration with this node's podCIDR and keeps
// routes to the other nodes' podCIDRs, which all share one docker bridge. It enforces no NetworkPolicy and knows no IPv6.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"time"
)

const (
	account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	target  = "/etc/cni/net.d/10-sandbox.conflist"
	config  = `{"cniVersion": "0.4.0", "name": "sandbox", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state",
   "ranges": [[{"subnet": "%s"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
`
)

type node struct {
	Spec   struct{ PodCIDR string }
	Status struct {
		Addresses []struct{ Type, Address string }
	}
}

func (n node) address() string {
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" {
			return a.Address
		}
	}
	return ""
}

func run(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%v: %w: %s", argv, err, out)
	}
	return err
}

// nodes lists the cluster's nodes; the token is read each time because the kubelet renews it.
func nodes(client *http.Client, server string) ([]node, error) {
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest("GET", "https://"+server+"/api/v1/nodes", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("listing nodes: %s", response.Status)
	}
	var list struct{ Items []node }
	return list.Items, json.NewDecoder(response.Body).Decode(&list)
}

func main() {
	server := os.Getenv("CONTROL_PLANE_ENDPOINT") // from default-cni.yaml, patched in by kind
	me, pods := os.Getenv("HOST_IP"), os.Getenv("POD_SUBNET")
	ca, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: 5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}

	rule := []string{"POSTROUTING", "-s", pods, "!", "-d", pods, "-j", "MASQUERADE"}
	if run(append([]string{"iptables", "-w", "-t", "nat", "-C"}, rule...)...) != nil {
		if err := run(append([]string{"iptables", "-w", "-t", "nat", "-A"}, rule...)...); err != nil {
			log.Fatal(err)
		}
	}
	done := map[string]string{} // podCIDR -> next hop
	for ; ; time.Sleep(time.Second) {
		list, err := nodes(client, server)
		if err != nil {
			log.Print(err)
			continue
		}
		for _, n := range list {
			cidr, hop := n.Spec.PodCIDR, n.address()
			if cidr == "" || hop == "" || done[cidr] == hop {
				continue
			}
			if hop != me {
				err = run("ip", "route", "replace", cidr, "via", hop)
			} else if err = os.WriteFile(target+".tmp", fmt.Appendf(nil, config, cidr), 0o644); err == nil {
				err = os.Rename(target+".tmp", target)
			}
			if err != nil {
				log.Print(err)
				continue
			}
			done[cidr] = hop
			log.Printf("%s is reached by %s", cidr, hop)
		}
	}
}
