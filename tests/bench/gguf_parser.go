// SPDX-License-Identifier: GPL-3.0-or-later

// Estimate with gguf-parser-go what llama.cpp takes of each GPU, without what CUDA takes:
// the argument is a JSON file with a list of cases, and a JSON list of results goes to stdout.
package main

import (
	"encoding/json"
	"os"
	"time"

	parser "github.com/gpustack/gguf-parser-go"
)

// How llama-server is started, by the names of its options.
type options struct {
	Path     string
	Ctx, Np  int32
	Ubatch   int32
	Ngl      *uint64 // nil for all layers
	Ctk, Ctv string
	Fa       bool
	Upto     []float64 // the fraction of the model up to which each GPU has it; 1 for the last
}

type result struct {
	Bytes   []parser.GGUFBytesScalar `json:"bytes"`
	Seconds float64                  `json:"seconds"`
}

// Files are read as its own command reads them.
func estimate(o options) []parser.GGUFBytesScalar {
	file, err := parser.ParseGGUFFile(o.Path, parser.SkipLargeMetadata(), parser.UseMMap())
	if err != nil {
		panic(err)
	}
	types := map[string]parser.GGMLType{"f16": parser.GGMLTypeF16, "q8_0": parser.GGMLTypeQ8_0}
	given := []parser.GGUFRunEstimateOption{
		parser.WithLLaMACppContextSize(o.Ctx), parser.WithParallelSize(o.Np), parser.WithLLaMACppPhysicalBatchSize(o.Ubatch),
		parser.WithLLaMACppCacheKeyType(types[o.Ctk]), parser.WithLLaMACppCacheValueType(types[o.Ctv]),
		parser.WithTensorSplitFraction(o.Upto),
	}
	if o.Fa {
		given = append(given, parser.WithFlashAttention())
	}
	if o.Ngl != nil {
		given = append(given, parser.WithLLaMACppOffloadLayers(*o.Ngl))
	}
	bytes := []parser.GGUFBytesScalar{}
	for _, gpu := range file.EstimateLLaMACppRun(given...).SummarizeItem(true, 0, 0).VRAMs {
		bytes = append(bytes, gpu.NonUMA)
	}
	return bytes
}

func main() {
	given, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	var cases []options
	if err := json.Unmarshal(given, &cases); err != nil {
		panic(err)
	}
	results := []result{}
	for _, one := range cases {
		start := time.Now()
		bytes := estimate(one)
		results = append(results, result{bytes, time.Since(start).Seconds()})
	}
	json.NewEncoder(os.Stdout).Encode(results)
}
