// Package manifest reads Kubernetes objects from files, directories and stdin,
// and remembers where each stood, so that a finding names file and line and an
// object that does not change is printed as it was written.
//
//	paths ── files ── split ── Source ── unfold ── Document
//	          │         │        │                  ├─ Object  typed, of the kinds that decisions read
//	          bounds    "---"    one YAML or        └─ Tree    raw, for patches
//	                             JSON document
//
// YAML is read as kubectl reads it (sigs.k8s.io/yaml), strictly: a key twice in
// one map is an error. go.yaml.in/yaml tells only positions.
package manifest
