// Command sbom writes the bill of materials of Go binaries, FILE.cdx.json beside each FILE, in
// the format of CycloneDX: the modules that the binary itself says it was built from.
//
//	go run ./sbom -version v1.2.3 ../bin/egress-tls-webhook
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

func main() {
	version := flag.String("version", "", "version of the main module, as the binaries were built with")
	flag.Parse()
	for _, binary := range flag.Args() {
		if err := write(binary, *version); err != nil {
			fmt.Fprintf(os.Stderr, "sbom: %v\n", err)
			os.Exit(1)
		}
	}
}

func write(binary, version string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err // It names the file.
	}
	bom, err := describe(info, version)
	if err != nil {
		return fmt.Errorf("failed to describe %s: %w", binary, err)
	}
	file, err := os.Create(binary + ".cdx.json")
	if err != nil {
		return err
	}
	if err := encode(file, bom); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}

func encode(w io.Writer, bom *cyclonedx.BOM) error {
	return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cyclonedx.SpecVersion1_6)
}

// describe has no time and no random number in it: the same binary gives the same bytes.
func describe(info *debug.BuildInfo, version string) (*cyclonedx.BOM, error) {
	bom := cyclonedx.NewBOM()
	main := cyclonedx.Component{
		Type: cyclonedx.ComponentTypeApplication, Name: info.Path, Version: version,
		BOMRef: purl(info.Main.Path, version), PackageURL: purl(info.Main.Path, version),
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
	}
	settings := []cyclonedx.Property{}
	for _, s := range info.Settings {
		if strings.HasPrefix(s.Key, "GO") || s.Key == "CGO_ENABLED" {
			settings = append(settings, cyclonedx.Property{Name: "go:" + s.Key, Value: s.Value})
		}
	}
	main.Properties = &settings
	bom.Metadata = &cyclonedx.Metadata{Component: &main}

	goVersion, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	components := []cyclonedx.Component{library("std", goVersion)}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		c := library(dep.Path, dep.Version)
		if dep.Sum != "" {
			// h1: of go.sum is a SHA-256 over the hashes of the module's files.
			sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(dep.Sum, "h1:"))
			if err != nil {
				return nil, fmt.Errorf("%s has the sum %q: %w", dep.Path, dep.Sum, err)
			}
			c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
		}
		components = append(components, c)
	}
	bom.Components = &components
	refs := make([]string, len(components))
	for i, c := range components {
		refs[i] = c.BOMRef
	}
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	return bom, nil
}

func library(path, version string) cyclonedx.Component {
	return cyclonedx.Component{
		Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version,
		BOMRef: purl(path, version), PackageURL: purl(path, version), Scope: cyclonedx.ScopeRequired,
	}
}

func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}
