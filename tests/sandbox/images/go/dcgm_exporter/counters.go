// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
)

//go:embed fields.txt
var fields string

var (
	kinds   = []string{"gauge", "counter", "histogram", "summary", "label"}
	derived = []string{"DCGM_EXP_XID_ERRORS_COUNT", "DCGM_EXP_CLOCK_EVENTS_COUNT", "DCGM_EXP_GPU_HEALTH_STATUS",
		"DCGM_EXP_P2P_STATUS"} // the exporter's own
	sysAdmin = capable(21)
)

// counter is a line of the file of fields: a field of DCGM, the Prometheus type it is given, and the help text.
type counter struct{ field, kind, help string }

func known(field string) bool {
	return slices.Contains(derived, field) ||
		strings.HasPrefix(field, "DCGM_FI_") && slices.Contains(strings.Split(fields, "\n"), field)
}

// readCounters refuses what the real one refuses.
func readCounters(path string) (list []counter, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := csv.NewReader(file)
	reader.Comment = '#'
	records, err := reader.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, record := range records {
		if len(record) != 3 {
			return nil, fmt.Errorf("malformed CSV record; err: failed to parse line %d (`%v`), expected 3 fields", i, record)
		}
		c := counter{strings.Trim(record[0], " "), strings.Trim(record[1], " "), strings.Trim(record[2], " ")}
		if !known(c.field) {
			return nil, fmt.Errorf("could not find DCGM field; err: unknown ExporterCounter field '%s'", c.field)
		}
		if !slices.Contains(kinds, c.kind) {
			return nil, fmt.Errorf("could not find Prometheus metric type '%s'", c.kind)
		}
		if strings.HasPrefix(c.field, "DCGM_FI_PROF_") && !sysAdmin {
			log.Printf("Skipping line %d ('%s'): metric not enabled", i, c.field)
			continue
		}
		list = append(list, c)
	}
	return list, nil
}

// capable tells whether this process has the capability of that number.
func capable(number int) bool {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	var mask uint64
	fmt.Sscanf(rest, "%x", &mask)
	return mask>>number&1 == 1
}
