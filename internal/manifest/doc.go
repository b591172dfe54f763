// Package manifest reads Kubernetes objects from files, directories and stdin,
// and remembers where each stood, so that a finding names file and line, and text
// changes only where its object does (yamltext).
//
//	paths ── files ── split ── Source ── unfold ── Document
//	          │         │        │                  ├─ Object  typed, of the kinds that decisions read
//	          bounds    "---"    one YAML or        └─ Tree    raw, for patches
//	                             JSON document
//	File <── Changed ── texts <── Changed ── Source
//
// YAML is read as kubectl reads it (sigs.k8s.io/yaml), strictly: a key twice in
// one map is an error. go.yaml.in/yaml tells only positions.
package manifest
