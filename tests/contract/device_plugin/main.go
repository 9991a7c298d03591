// SPDX-License-Identifier: GPL-3.0-or-later

// device_plugin reads a configuration of NVIDIA's Kubernetes device plugin as that does itself, and says what it understood, as JSON.
// It fails on what the plugin's types have no field for, which the plugin would pass over.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	config "github.com/NVIDIA/k8s-device-plugin/api/config/v1"
	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"
)

// understood is what matters of a configuration.
type understood struct {
	Sharing            config.SharingStrategy
	Replicas           map[config.ResourceName]int
	RefusesMoreThanOne bool
	DeviceList         []string
	MPSRoot            string
}

func main() {
	app := &cli.App{Flags: []cli.Flag{&cli.StringFlag{Name: "config-file", Required: true}}, Action: read}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(c *cli.Context) error {
	text, err := os.ReadFile(c.String("config-file"))
	if err != nil {
		return err
	}
	var raw any
	if err := yaml.UnmarshalStrict(text, &raw); err != nil {
		return err
	}
	if unknown := unknownFields("", raw, reflect.TypeFor[config.Config]()); len(unknown) > 0 {
		return fmt.Errorf("unknown fields: %s", strings.Join(unknown, ", "))
	}
	parsed, err := config.NewConfig(c, nil)
	if err != nil {
		return err
	}
	list := []string(*parsed.Flags.Plugin.DeviceListStrategy)
	if _, err := config.NewDeviceListStrategies(list); err != nil {
		return err
	}
	shared := parsed.Sharing.ReplicatedResources()
	said := understood{parsed.Sharing.SharingStrategy(), map[config.ResourceName]int{}, shared.FailRequestsGreaterThanOne, list, *parsed.Flags.MpsRoot}
	for _, resource := range shared.Resources {
		said.Replicas[resource.Name] = resource.Replicas
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}

// unknownFields names what a value has and a type of NVIDIA's has no field for; their own parsers ignore it.
func unknownFields(path string, value any, of reflect.Type) (found []string) {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	switch value := value.(type) {
	case map[string]any:
		fields := map[string]reflect.Type{}
		for _, field := range reflect.VisibleFields(of) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			fields[name] = field.Type
		}
		for name, inner := range value {
			if field, known := fields[name]; known {
				found = append(found, unknownFields(path+"."+name, inner, field)...)
			} else {
				found = append(found, path+"."+name)
			}
		}
	case []any:
		for _, inner := range value {
			found = append(found, unknownFields(path+"[]", inner, of.Elem())...)
		}
	}
	return found
}
