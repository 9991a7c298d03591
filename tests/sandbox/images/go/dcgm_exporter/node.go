// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"
)

const resource = "nvidia.com/gpu"

// slot is a share of a GPU that a container holds; vgpu is its number where the GPU is shared.
type slot struct{ namespace, pod, container, uid, vgpu string }

func (s slot) attributes(virtual bool) map[string]string {
	named := map[string]string{"namespace": s.namespace, "pod": s.pod, "container": s.container}
	if settings.podUID {
		named["pod_uid"] = s.uid
	}
	if virtual && s.vgpu != "" {
		named["vgpu"] = s.vgpu
	}
	return named
}

// node is the GPUs that the kubelet may hand out, in order, and the slots that are held, by GPU.
type node struct {
	gpus  []string
	slots map[string][]slot
}

func readNode(socket string) (n node, err error) {
	c, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return n, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	kubelet := api.NewPodResourcesListerClient(c)
	all, err := kubelet.GetAllocatableResources(ctx, &api.AllocatableResourcesRequest{})
	if err != nil {
		return n, err
	}
	for _, devices := range all.Devices {
		for _, id := range devices.DeviceIds {
			if gpu, _, _ := strings.Cut(id, "::"); devices.ResourceName == resource && !slices.Contains(n.gpus, gpu) {
				n.gpus = append(n.gpus, gpu)
			}
		}
	}
	slices.Sort(n.gpus)
	n.slots = map[string][]slot{}
	if !settings.kubernetes {
		return n, nil
	}
	pods, err := kubelet.List(ctx, &api.ListPodResourcesRequest{})
	if err != nil {
		return n, err
	}
	uids := podUIDs()
	for _, p := range pods.PodResources {
		for _, c := range p.Containers {
			for _, devices := range c.Devices {
				for _, id := range devices.DeviceIds {
					if gpu, vgpu, _ := strings.Cut(id, "::"); devices.ResourceName == resource {
						n.slots[gpu] = append(n.slots[gpu],
							slot{p.Namespace, p.Name, c.Name, uids[p.Namespace+"/"+p.Name], vgpu})
					}
				}
			}
		}
	}
	return n, nil
}

// podUIDs asks the API server for the UIDs of this node's pods; none where there is no token, or it may not list pods.
func podUIDs() map[string]string {
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return nil
	}
	ca, _ := os.ReadFile(account + "ca.crt")
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	client := http.Client{Timeout: 5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, DisableKeepAlives: true}}
	request, _ := http.NewRequest("GET", "https://kubernetes.default.svc/api/v1/pods?fieldSelector="+
		url.QueryEscape("spec.nodeName="+hostname()), nil)
	request.Header.Set("Authorization", "Bearer "+string(token))
	answer, err := client.Do(request)
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	var list struct {
		Items []struct {
			Metadata struct{ Namespace, Name, UID string }
		}
	}
	if json.NewDecoder(answer.Body).Decode(&list) != nil {
		return nil
	}
	uids := map[string]string{}
	for _, p := range list.Items {
		uids[p.Metadata.Namespace+"/"+p.Metadata.Name] = p.Metadata.UID
	}
	return uids
}
